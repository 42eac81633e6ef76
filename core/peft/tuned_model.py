"""A backbone with a method and a head: what trains, what is saved, and how the backbone gets itself back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from ..models.head import ClassificationHead
from ..models.layouts import check_names
from ..models.trunk import Trunk
from ..models.tuned import attach, detach
from .method import Method


class Tuned(nn.Module):
    """Inputs (points or images) in, logits (B, C) out; only method, head and what the method tunes get gradients.

    The trunk's own tensors are never changed: what trains or drifts is replaced by a copy, and `release` puts the
    originals back, so one resident trunk can serve many adapters, one after another.

    `batchnorm`: "paper" lets the frozen trunk's batch norms use and move their statistics while training, as the
    published runs did; "frozen" keeps them. `initialised` names trunk parameters that no weight file provided.
    """

    def __init__(
        self,
        trunk: Trunk,
        method: Method,
        head: nn.Module,
        *,
        batchnorm: Literal["paper", "frozen"] = "paper",
        initialised: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.trunk, self.method, self.head = trunk, method, head
        self.batchnorm = batchnorm
        self._originals: dict[str, Tensor] = {}
        self.tuned_names, moving = own_names(trunk, method, batchnorm)
        self.kept_names = self.tuned_names | moving | initialised
        self._occupy(moving)
        for operation, delta in method.attachments():
            attach(trunk.get_submodule(operation), delta)

    def _occupy(self, moving: frozenset[str]) -> None:
        for name, parameter in list(self.trunk.named_parameters()):
            self._originals[name] = parameter
            copied = parameter.detach().clone() if name in self.kept_names else parameter.detach()
            put_tensor(self.trunk, name, nn.Parameter(copied, requires_grad=name in self.tuned_names))
        for name, buffer in list(self.trunk.named_buffers()):
            if name in moving:
                self._originals[name] = buffer
                put_tensor(self.trunk, name, buffer.clone())

    def release(self) -> Trunk:
        """Take the method off and put the trunk's own tensors back, bit for bit; the model is unusable afterwards."""
        for name, original in self._originals.items():
            put_tensor(self.trunk, name, original)
        for module in self.trunk.modules():
            detach(module)
        self.trunk.recompute(frozenset())
        return self.trunk

    def forward(self, points: Tensor) -> Tensor:
        if points.dim() == 2:  # features that were made before, see `training.features`
            return self.answer((points,), points)
        return self.head(self.trunk(points), self.trunk.num_patches)

    def features(self, *prepared: Tensor) -> tuple[Tensor, ...]:
        """Return all that the head sees, first axes B, of what the trunk's `prepare` made or of a slice of it."""
        head = self.head
        assert isinstance(head, ClassificationHead)
        return (head.read(self.trunk.tokens_of(*prepared), self.trunk.num_patches),)

    def answer(self, features: tuple[Tensor, ...], points: Tensor, category: Tensor | None = None) -> Tensor:
        """Return the logits of these features; points and category are for heads that see them too."""
        head = self.head
        assert isinstance(head, ClassificationHead)
        return head.layers(features[0])

    def recompute(self, what: Literal["nothing", "mlps", "blocks"] = "blocks") -> None:
        """Trade time for memory in training: see `Trunk.recompute`. Blocks that must not run twice keep their rest."""
        every = frozenset(block.name for block in self.trunk.shape.blocks)
        whole = every - self.method.runs_once() if what == "blocks" else frozenset[str]()
        self.trunk.recompute(whole, frozenset() if what == "nothing" else every - whole)

    def train(self, mode: bool = True) -> Tuned:
        super().train(mode)
        if self.batchnorm == "frozen":
            for module in self.trunk.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.eval()
        return self

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield (name, parameter) of all that trains, names as in `adapter_state`."""
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    def count(self) -> tuple[int, int]:
        """Return (trainable, total) numbers of parameters."""
        return (
            sum(parameter.numel() for _, parameter in self.trainable()),
            sum(parameter.numel() for parameter in self.parameters()),
        )

    def adapter_state(self) -> dict[str, Tensor]:
        """Return all that the backbone's own file does not hold: `method.*`, `head.*` and kept `trunk.*` tensors."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items() if self._is_kept(name)}

    def _is_kept(self, name: str) -> bool:
        return not name.startswith("trunk.") or name.removeprefix("trunk.") in self.kept_names

    def saved_state(self) -> dict[str, Tensor]:
        return self.adapter_state()

    def load_saved(self, state: dict[str, Tensor], subject: str) -> None:
        self.load_adapter(state, subject)

    @torch.no_grad()
    def load_adapter(self, state: dict[str, Tensor], subject: str = "The adapter") -> None:
        """Fill from `adapter_state` of an equal model. UserError names what is missing, unknown or misshapen."""
        wanted = self.adapter_state()
        check_names(wanted, state, [], subject)
        for name, tensor in wanted.items():
            tensor.copy_(state[name])


def own_names(
    trunk: Trunk, method: Method, batchnorm: Literal["paper", "frozen"]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the trunk's (parameters that train, buffers that move) in a model of `method`."""
    tuned = frozenset(name for name, _ in trunk.named_parameters() if method.tunes(name))
    moving = frozenset(name for name, _ in trunk.named_buffers()) if batchnorm == "paper" else frozenset[str]()
    return tuned, moving


def put_tensor(root: nn.Module, name: str, tensor: Tensor) -> None:
    """Set a parameter or buffer by its dotted name."""
    path, _, leaf = name.rpartition(".")
    owner = root.get_submodule(path)
    if isinstance(tensor, nn.Parameter):
        owner.register_parameter(leaf, tensor)
    else:
        owner.register_buffer(leaf, tensor)
