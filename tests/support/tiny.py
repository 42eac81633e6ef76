"""The smallest runs that are still real ones, from random weights: clouds of 15 generated classes, or images."""

from __future__ import annotations

from typing import Any

import torch
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.models.trunk import TrunkConfig

BACKBONE = {
    "kind": "own",
    "weights": "random",
    "dim": 24,
    "depth": 2,
    "heads": 2,
    "groups": 8,
    "group_size": 8,
    "widths": [8, 16, 16],
}
M2AE = {
    "kind": "point-m2ae",
    "weights": "random",
    "groups": [16, 8, 6],
    "group_sizes": [8, 4, 4],
    "dims": [12, 24, 24],
    "depths": [1, 1, 2],
    "heads": 2,
    "widths": [8, 8, 8],
}
VIT = {"kind": "vit-b16", "weights": "random", "dim": 24, "depth": 2, "heads": 2, "image_size": 24, "patch_size": 8}
BACKBONES = {"point-transformer": BACKBONE, "point-m2ae": M2AE, "vit": VIT}


def tiny_run(method: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    images = changes.get("backbone", BACKBONE)["kind"].startswith("vit")
    points = {"kind": "demo", "train_per_class": 4, "test_per_class": 2, "preparation": {"points": 64}}
    pictures = {"kind": "images", "path": "pictures", "preparation": {"size": 24}}
    return parse_config(
        {
            "backbone": BACKBONE,
            "method": method or {"kind": "dapt", "rank": 4},
            "data": {**(pictures if images else points), "validation": 0.25},
            "head": {"hidden": 16},
            "epochs": 3,
            "batch_size": 8,
            **changes,
        }
    )


def inputs_for(backbone: TrunkConfig, count: int = 4, seed: int = 0) -> torch.Tensor:
    """Return random clouds of 64 points, or images, as this backbone takes them."""
    return torch.randn((count, *backbone.example_size(64)[1:]), generator=torch.Generator().manual_seed(seed))
