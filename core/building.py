"""From a config to a model: backbone, method and head put together, the same for the same seed on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import RunConfig
from .errors import UserError
from .models.backbones import BackboneConfig
from .models.head import ClassificationHead
from .models.load import Loaded, load_backbone, not_in_file
from .models.part_head import PartHead
from .models.shapes_only import shapes_only
from .models.trunk import Trunk, TrunkShape
from .peft.method import Method
from .peft.part_model import TunedForParts
from .peft.registry import MethodUnion
from .peft.tuned_model import Tuned, own_names


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters, and the bytes that an adapter stores (without its file's small header)."""

    trainable: int
    total: int
    adapter_bytes: int
    head: int
    """How many of them are the head's, which 2D publications do not count."""


@dataclass(frozen=True)
class Built:
    """A model and where its backbone came from."""

    model: Tuned
    backbone: Loaded

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.model)


def measure(config: RunConfig, classes: int, parts: int = 0) -> Sizes:
    """Return the sizes of a run's model without making it: no weight file is read and no memory taken.

    `classes` and `parts` as in `assemble`.

    UserError when the method cannot work on this backbone.
    """
    with shapes_only():
        trunk = config.backbone.build(config.method.positions)
    return _measured(config, classes, trunk, parts)


def measure_methods(backbone: BackboneConfig, methods: Sequence[MethodUnion], classes: int) -> list[Sizes | UserError]:
    """Return for each method its sizes on a backbone with its published head, or why the two do not go together."""
    found: list[Sizes | UserError] = []
    with shapes_only():
        trunk = backbone.build("every-block")
    for method in methods:
        run = RunConfig().model_copy(update={"backbone": backbone, "method": method})
        try:
            found.append(_measured(run, classes, trunk))
        except UserError as error:
            found.append(error)
    return found


def _measured(config: RunConfig, classes: int, trunk: Trunk, parts: int = 0) -> Sizes:
    """Return what `sizes_of` says of the assembled model, without joining its parts, which takes most of the time."""
    with shapes_only():
        method, head = _added(config, classes, trunk.shape, parts)
    state: dict[str, Tensor] = trunk.state_dict()
    tuned, moving = own_names(trunk, method, config.batchnorm)
    kept = tuned | moving | not_in_file(config.backbone)
    own = [parameter for module in (method, head) for parameter in module.parameters()]
    stored = [state[name] for name in kept & state.keys()]
    for module in (method, head):
        stored += module.state_dict().values()
    return Sizes(
        trainable=sum(p.numel() for p in own if p.requires_grad) + sum(state[name].numel() for name in tuned),
        total=sum(p.numel() for p in own) + sum(p.numel() for p in trunk.parameters()),
        adapter_bytes=sum(tensor.numel() * tensor.element_size() for tensor in stored),
        head=sum(p.numel() for p in head.parameters()),
    )


def sizes_of(model: Tuned) -> Sizes:
    """Return the sizes of a model."""
    stored = sum(tensor.numel() * tensor.element_size() for tensor in model.adapter_state().values())
    return Sizes(*model.count(), stored, sum(parameter.numel() for parameter in model.head.parameters()))


def assemble(
    config: RunConfig, classes: int, trunk: Trunk, initialised: frozenset[str] = frozenset(), *, parts: int = 0
) -> Tuned:
    """Return a run's model on a backbone that is there already; UserError where method and backbone do not fit.

    `parts`, of all classes together, is the width of its answer where the data have parts.
    """
    method, head = _added(config, classes, trunk.shape, parts)
    joined = TunedForParts if isinstance(head, PartHead) else Tuned
    return joined(trunk, method, head, batchnorm=config.batchnorm, initialised=initialised)  # type: ignore[arg-type]


def _added(config: RunConfig, classes: int, shape: TrunkShape, parts: int) -> tuple[Method, nn.Module]:
    """Return the method and the head that a run puts on a backbone of this shape."""
    config.method.check(shape)
    if config.data.answers == "parts":
        shape.require_levels()
        method = config.method.build_for_levels(shape)
        pools = config.head.parts or config.method.level_pools(shape)
        levels = len(shape.levels)
        return method, PartHead(
            config.head, pools, shape.dim, levels, categories=classes, outputs=parts, lead=shape.lead
        )
    method = config.method.build(shape)
    pools = config.head.parts or config.method.head_parts(shape)
    return method, ClassificationHead(config.head, pools, shape.dim, classes, kind=shape.head, lead=shape.lead)


def build(config: RunConfig, classes: int, parts: int = 0) -> Built:
    """Return the untrained model of a run for `classes` classes with `parts` parts in all, on the CPU.

    UserError when the backbone's weights are absent or unfit, or the method cannot work on this backbone.
    """
    loaded = load_backbone(config.backbone, seed=config.seed, positions=config.method.positions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        model = assemble(config, classes, loaded.trunk, loaded.initialised, parts=parts)
    return Built(model, loaded)
