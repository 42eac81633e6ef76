"""A backbone in memory once, and as many models as wanted on its tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import RunConfig
from ..models.load import Loaded, load_backbone
from ..models.shapes_only import shapes_only
from ..models.trunk import Trunk
from ..peft.tuned_model import put_tensor


def identity(run: RunConfig) -> str:
    """Return what decides a backbone's tensors: its settings, and the seed where weights are drawn from it."""
    seed = run.seed if run.backbone.weights == "random" else 0
    return f"{seed} {run.backbone.model_dump_json()}"


@dataclass(frozen=True)
class Resident:
    """A loaded backbone on its device. An adapter that brings its whole backbone needs none: then it has no tensors."""

    loaded: Loaded
    run: RunConfig

    @classmethod
    def load(cls, run: RunConfig, device: torch.device) -> Resident:
        """Load the backbone of a run; UserError where its weights are absent or unfit."""
        if run.backbone.weights == "included":
            with shapes_only():
                trunk = run.backbone.build(run.method.positions)
            return cls(Loaded(trunk, frozenset(trunk.state_dict()), "", "the adapter itself"), run)
        loaded = load_backbone(run.backbone, seed=run.seed, positions=run.method.positions)
        loaded.trunk.requires_grad_(False).to(device).eval()
        return cls(loaded, run)

    @property
    def bytes(self) -> int:
        tensors = self.loaded.trunk.state_dict().values()
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if not tensor.is_meta)

    def shell(self, run: RunConfig) -> Trunk:
        """Return a trunk for this run's method whose tensors are the resident's own: it takes next to no memory."""
        with shapes_only():
            trunk = run.backbone.build(run.method.positions)
        for name, tensor in _tensors(self.loaded.trunk):
            put_tensor(trunk, name, tensor)
        return trunk


def _tensors(trunk: nn.Module) -> list[tuple[str, Tensor]]:
    return [*trunk.named_parameters(), *trunk.named_buffers()]
