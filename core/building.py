"""From a config to a model: backbone, method and head put together, the same for the same seed on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .config import RunConfig
from .models.head import ClassificationHead
from .models.load import Loaded, load_backbone
from .peft.tuned_model import Tuned


@dataclass(frozen=True)
class Built:
    """A model and where its backbone came from."""

    model: Tuned
    backbone: Loaded

    @property
    def adapter_bytes(self) -> int:
        """Size of what an adapter has to store, in bytes, without the file's small header."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.model.adapter_state().values())


def build(config: RunConfig, classes: int) -> Built:
    """Return the untrained model of a run for `classes` classes, on the CPU.

    UserError when the backbone's weights are absent or unfit, or the method cannot work on this backbone.
    """
    loaded = load_backbone(config.backbone, seed=config.seed, positions=config.method.positions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        method = config.method.build(loaded.trunk)
        parts = config.head.parts or config.method.head_parts()
        head = ClassificationHead(config.head, parts, config.backbone.dim, classes)
    model = Tuned(loaded.trunk, method, head, batchnorm=config.batchnorm, initialised=loaded.initialised)
    return Built(model, loaded)
