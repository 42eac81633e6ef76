"""What the page is told of routing: small, in order, and true to the events."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
from pointsmith.core.explain import Explanation
from pointsmith.core.predict import Prediction
from pointsmith.ui.curves import Seen
from pointsmith.ui.routing_view import EPOCHS, explained_value, live_value


def routed(epoch: int, kept: bool = False, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "routed",
        "epoch": epoch,
        "kept": kept,
        "inputs": 16,
        "shared": True,
        "load": [[0.5, 0.5], [0.9, 0.1]],
        "entropy": [math.log(2), 0.0],
        "per_class": [[0.25, 0.75], None],
        "by_block": [[[1.0, 0.0], None], [[0.0, 1.0], None]] if kept else [],
        "idle": [],
        **changes,
    }


def seen_of(*events: dict[str, Any]) -> Seen:
    seen = Seen()
    seen.add({"kind": "plan", "classes": ["cat", "dog"], "steps_per_epoch": 2})
    for event in events:
        seen.add(event)
    return seen


def test_nothing_before_anything_is_known() -> None:
    assert live_value("r", seen_of()) is None


def test_an_epoch_told_twice_counts_once_and_the_kept_one_gives_the_classes() -> None:
    again = routed(1, load=[[0.2, 0.8], [0.0, 1.0]])
    value = live_value("r", seen_of(routed(0), routed(1), again, routed(2), routed(1, kept=True)))
    assert value is not None and value["epochs"] == [0, 1, 2] and value["kept"] == 1
    assert value["load"][1] == [[200, 800], [0, 1000]] and value["entropy"][0] == [1000, 0]
    assert value["perClass"] == [[250, 750], None] and value["byBlock"][1] == [[0, 1000], None]


def test_long_runs_stay_small() -> None:
    load = [[1 / 8] * 8] * 12
    events = [routed(epoch, load=load, entropy=[math.log(8)] * 12) for epoch in range(301)]
    value = live_value("r", seen_of(*events))
    assert value is not None and len(value["epochs"]) <= EPOCHS
    assert value["epochs"][0] == 0 and value["epochs"][-1] == 300 and len(json.dumps(value)) < 40_000


def test_dead_experts_are_said_once_training_has_begun() -> None:
    idle = [{"expert": 1, "block": None}]
    before, after = (live_value("r", seen_of(routed(epoch, idle=idle))) for epoch in (0, 3))
    assert before is not None and before["warning"] == ""
    assert after is not None and "Expert 2 hardly receives any sub-token" in after["warning"]


def explanation(**changes: Any) -> Explanation:
    draw = np.random.default_rng(0)
    answer = Prediction("cat", np.ones(2), np.ones(2), draw.normal(size=(50, 3)).astype(np.float32), np.arange(50) % 5)
    values: dict[str, Any] = {
        "answer": answer,
        "gates": None,
        "scales": None,
        "lead_gates": None,
        "lead_scales": None,
        "grid": None,
    }
    return Explanation(**values | changes)


def test_gates_are_bytes_and_scales_are_steps_of_the_highest() -> None:
    gates = np.random.default_rng(1).dirichlet(np.ones(4), size=(2, 5, 3)).astype(np.float32)
    value = explained_value(explanation(gates=gates), "a cloud", "dog")
    back = np.frombuffer(base64.b64decode(value["gates"]), np.uint8).reshape(gates.shape) / 255
    assert np.abs(back - gates).max() < 0.003 and (value["blocks"], value["patches"], value["heads"]) == (2, 5, 3)
    scales = np.random.default_rng(2).gamma(1, size=(2, 5)).astype(np.float32)
    value = explained_value(explanation(scales=scales, lead_scales=np.array([0.5, 9.0])), "a cloud", None)
    back = np.frombuffer(base64.b64decode(value["scales"]), "<u2").reshape(2, 5) / 65535 * value["scaleMax"]
    assert value["scaleMax"] == 9.0 and np.abs(back - scales).max() < 1e-3 and "gates" not in value
    json.dumps(value)
