"""The smallest run that is still a real one: 15 generated classes, a two-block backbone from random weights."""

from __future__ import annotations

from typing import Any

from pointsmith.core.config import RunConfig, parse_config

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


def tiny_run(method: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    data = {"kind": "demo", "train_per_class": 4, "test_per_class": 2, "validation": 0.25}
    return parse_config(
        {
            "backbone": BACKBONE,
            "method": method or {"kind": "dapt", "rank": 4},
            "data": {**data, "preparation": {"points": 64}},
            "head": {"hidden": 16},
            "epochs": 3,
            "batch_size": 8,
            **changes,
        }
    )
