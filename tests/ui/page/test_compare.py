"""Comparing runs: only settings that differ, experts matched before routing is compared, nothing drawn over another."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from pointsmith.ui import compare_view
from pointsmith.ui.compare_view import Compared, differing, distance
from pointsmith.ui.curves import Seen
from pointsmith.worker.run import Run, State


def run(number: int, *, name: str = "a run", state: State = "succeeded", config: dict[str, Any] | None = None) -> Run:
    result = {"test_accuracy": 0.5 + number / 10, "validation_accuracy": 0.5, "seconds": 61.0}
    return Run(
        id=str(number) * 24,
        name=name,
        state=state,
        created=0.0,
        started=0.0,
        finished=1.0,
        worker=None,
        attempt=1,
        position=None,
        config=config or {"epochs": 2, "method": {"kind": "dapt"}},
        progress={},
        error=None,
        result=result if state == "succeeded" else None,
        folder=Path("."),
    )


def seen(*, trainable: int = 1000, counts: tuple[tuple[int, ...], ...] = ((3, 1), (0, 4)), routed: Any = ()) -> Seen:
    plan = {"trainable": trainable, "adapter_bytes": 4000, "classes": ["cup", "<b>"], "epochs": 2}
    epochs = [
        {"epoch": i, "train_loss": 1 / i, "validation_accuracy": 0.2 * i, "peak_memory_bytes": i * 2**20}
        for i in (1, 2)
    ]
    scores = {"test": {"split": "test", "confusion": counts}}
    return Seen(plan=plan, epochs=epochs, scores=scores, routed=list(routed))


def test_only_settings_that_differ_are_listed() -> None:
    found = differing([{"seed": 0, "optim": {"lr": 0.1}, "data": {"kind": "demo"}}, {"seed": 0, "optim": {"lr": 0.2}}])
    assert found == {"optim.lr": ["0.1", "0.2"], "data.kind": ["demo", None]}
    assert differing([{"seed": 0}, {"seed": 0}]) == {}


def test_routing_is_compared_whatever_the_experts_are_called() -> None:
    load = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]]
    renamed = [[row[2], row[0], row[1]] for row in load]
    assert distance(load, renamed) == pytest.approx(0.0)
    assert distance([[1.0, 0.0]], [[0.5, 0.5]]) == pytest.approx(0.5)
    assert distance(load, [[0.5, 0.5]]) is None


def test_names_on_a_picture_keep_apart_and_inside() -> None:
    for heights in ([100.0, 100.0, 101.0, 20.0], [255.0] * 4, [22.0, 256.0]):
        found = sorted(compare_view._apart(heights, 22, 256))
        assert all(b - a >= 15 - 1e-9 for a, b in itertools.pairwise(found))
        assert found[0] >= 22 and found[-1] <= 256


@pytest.mark.parametrize(("low", "high"), [(215e3, 448e3), (805, 1200), (1e5, 1e8), (10, 11), (5, 2e9)])
def test_the_axis_has_a_few_round_marks(low: float, high: float) -> None:
    marks = compare_view._log_marks(math.log10(low), math.log10(high))
    assert 2 <= len(marks) <= 6
    assert all(low <= mark <= high for mark in marks)
    assert all(float(f"{mark:.3g}") == pytest.approx(mark) for mark in marks)


def test_the_page_of_two_runs() -> None:
    routed = [{"kind": "routed", "epoch": 2, "load": [[0.9, 0.1], [0.5, 0.5]]}]
    other = {"epochs": 2, "method": {"kind": "adapter-x", "experts": 2}}
    compared = [
        Compared(run(1, name="<i>one</i>"), seen(routed=routed), 1),
        Compared(run(2, name="two", config=other), seen(trainable=50, counts=((4, 0), (1, 3)), routed=routed), 2),
    ]
    shown = compare_view.numbers(compared) + compare_view.details(compared)
    assert "<i>one" not in shown and "<b>cup" not in shown and "&lt;b&gt;" in shown
    assert "<b>70.0 %</b>" in shown, "the best is marked"
    assert "method.kind" in shown and "<code>epochs</code>" not in shown
    assert shown.count("<circle") == 4
    assert "Difference to the first: 0.00" in shown
    assert ">+1</td>" in shown and ">-1</td>" in shown
    drawn = compare_view.charts(compared)
    assert drawn is not None
    by_id = {chart["id"]: chart["series"] for chart in drawn["charts"]}
    assert [(one["name"], one["tone"]) for one in by_id["validation_accuracy"]] == [("<i>one</i>", 1), ("two", 2)]
    assert by_id["validation_loss"] == []


def test_runs_of_one_name_are_told_apart() -> None:
    compared = [Compared(run(1), seen(), 1), Compared(run(2), seen(), 2)]
    drawn = compare_view.charts(compared)
    assert drawn is not None
    assert len({one["name"] for one in drawn["charts"][0]["series"]}) == 2


def test_a_run_that_has_only_begun_can_be_compared() -> None:
    compared = [Compared(run(1, state="queued"), Seen(), 1), Compared(run(2), seen(), 2)]
    shown = compare_view.numbers(compared) + compare_view.details(compared)
    assert "queued" in shown and "<circle" not in shown
    assert "Choose two or more" in compare_view.numbers([])
