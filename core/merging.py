"""Folding an adapter into its backbone: the same answers with fewer or no added operations, for deployment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .adapters import Adapter, AdapterConfig, describe, load_adapter, save_adapter
from .building import Built, build
from .config import RunConfig
from .errors import UserError
from .models.backbones import BackboneConfig
from .models.point_transformer import PointTransformer
from .models.tuned import Foldable

TOLERANCE = 1e-4
"""Largest difference of logits, relative to their size, that float32 explains."""


@dataclass(frozen=True)
class Merged:
    """What folding did. `difference` is the largest |a - b| of logits, measured on random inputs."""

    folded: int
    remaining: int
    method: str
    difference: float
    bytes: int


def merge(folder: Path, out: Path, *, backbone_weights: str | None = None) -> Merged:
    """Write the adapter in `folder` to `out` with scales, shifts, low-rank products and biases inside its backbone.

    The new folder carries the whole backbone. UserError where nothing can be folded, or `out` exists.
    """
    if out.exists():
        raise UserError(f"{out} exists already", remedy="Choose another folder or remove it")
    adapter = load_adapter(folder, backbone_weights=backbone_weights)
    run = adapter.config.run
    remaining = run.method.folded()
    inputs = torch.randn(run.example_size(), generator=_seeded())
    with torch.inference_mode():
        before = adapter.built.model(inputs)
    folded, total = _fold(adapter)
    merged = run.model_copy(update={"method": remaining, "backbone": _able_to_hold(adapter)})
    built = _rebuild(adapter, merged)
    with torch.inference_mode():
        after = built.model(inputs)
    difference = float((before - after).abs().max())
    if difference > TOLERANCE * max(1.0, float(before.abs().max())):
        raise UserError(
            "The merged model does not answer as the adapter does",
            got=f"a difference of {difference:.2g}",
            expected=f"at most {TOLERANCE:g} of the logits",
            remedy="Use the adapter as it is, and report this",
        )
    size = save_adapter(out, built, _described(adapter, merged, built))
    return Merged(folded, total - folded, merged.method.kind, difference, size)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _fold(adapter: Adapter) -> tuple[int, int]:
    """Fold every delta that can be; return (how many, how many there were)."""
    model = adapter.built.model
    rows = list(model.method.attachments())
    chosen = [(operation, delta) for operation, delta in rows if isinstance(delta, Foldable)]
    for operation, delta in chosen:
        delta.fold(model.trunk.get_submodule(operation))
    return len(chosen), len(rows)


def _able_to_hold(adapter: Adapter) -> BackboneConfig:
    """Return the backbone's config with the biases and the projection that folding has made."""
    backbone, trunk = adapter.config.run.backbone, adapter.built.model.trunk
    state = trunk.state_dict()
    changes: dict[str, Any] = {"weights": "included"}
    if any(name.endswith("attn.qkv.bias") for name in state):
        changes["qkv_bias"] = True
    if isinstance(trunk, PointTransformer):
        changes["positions"] = trunk.positions
        if "patch_embed.reduce_dim.weight" in state:
            changes["token_dim"] = state["patch_embed.reduce_dim.weight"].shape[1]
    return backbone.model_copy(update=changes)


def _rebuild(adapter: Adapter, run: RunConfig) -> Built:
    """Return a model of what remains, filled with the folded weights."""
    state = adapter.built.model.state_dict()
    built = build(run, len(adapter.config.classes), sum(map(len, adapter.config.part_names)))
    built.model.load_adapter({name: state[name] for name in built.model.adapter_state()}, "The folded model")
    built.model.eval()
    return built


def _described(adapter: Adapter, run: RunConfig, built: Built) -> AdapterConfig:
    before = adapter.config
    after = describe(
        built,
        run,
        before.classes,
        part_names=before.part_names,
        fingerprint=before.dataset_fingerprint,
        metrics=dict(before.metrics),
    )
    counts = {"trainable_parameters": before.trainable_parameters, "total_parameters": after.total_parameters}
    return after.model_copy(update={"merged_from": before.merged_from or before.run, **counts})
