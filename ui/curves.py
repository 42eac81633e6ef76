"""What a run's events have said so far, read piece by piece and kept for every viewer: curves, plan and scores."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from ..worker.own_runs import OwnRuns
from ..worker.store import RunStore

POINTS = 400
"""The most points of one curve that are sent; more are averaged in groups."""

Curve = tuple[list[float], list[float]]


@dataclass
class Seen:
    """The events of one run, gathered. `steps` is (step, loss); `scores` the Scores event of each split."""

    cursor: str = "0"
    plan: dict[str, Any] | None = None
    steps: list[tuple[int, float]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    routed: list[dict[str, Any]] = field(default_factory=list)
    last: dict[str, Any] | None = None

    def add(self, event: dict[str, Any]) -> None:
        """Take one more event in."""
        kind = event.get("kind")
        if kind == "plan":
            self.plan = event
        elif kind == "step":
            self.steps.append((event["step"], event["loss"]))
            self.last = event
        elif kind == "epoch":
            self.epochs.append(event)
        elif kind == "routed":
            self.routed.append(event)
        elif kind == "scores":
            self.scores[event["split"]] = event


class Watch:
    """Reads each run's new events once, however many pages look at it."""

    def __init__(self, store: RunStore | OwnRuns, keep: int = 64) -> None:
        self.store = store
        self._keep = keep
        self._seen: OrderedDict[str, tuple[Seen, Lock]] = OrderedDict()
        self._lock = Lock()

    def of(self, run_id: str) -> Seen:
        """Return all that is known of a run by now; UserError for an unknown id."""
        with self._lock:
            seen, lock = self._seen.setdefault(run_id, (Seen(), Lock()))
            self._seen.move_to_end(run_id)
            if len(self._seen) > self._keep:
                self._seen.popitem(last=False)
        with lock:
            events, seen.cursor = self.store.events(run_id, after=seen.cursor)
            for event in events:
                seen.add(event)
        return seen


def thinned(x: list[float], y: list[float]) -> Curve:
    """Return at most `POINTS` points of a curve, each the mean of a group of neighbours; the last one stays exact."""
    if len(x) <= POINTS:
        return x, y
    group = -(-len(x) // (POINTS - 1))
    starts = range(0, len(x) - 1, group)
    xs = [sum(x[i : i + group]) / len(x[i : i + group]) for i in starts]
    ys = [sum(y[i : i + group]) / len(y[i : i + group]) for i in starts]
    return [*xs, x[-1]], [*ys, y[-1]]


def charts(run_id: str, seen: Seen, epochs: int) -> dict[str, Any]:
    """Return the value of the charts component: loss and accuracy, or mIoU of parts, over epochs."""
    per_epoch = (seen.plan or {}).get("steps_per_epoch") or 1
    steps = list(seen.steps)
    done = list(seen.epochs)
    loss = [_line("training, each step", 1, [step / per_epoch for step, _ in steps], [value for _, value in steps])]
    loss.append(epoch_line("validation", 2, done, "validation_loss"))
    accuracy = [
        epoch_line("training", 1, done, "train_accuracy"),
        epoch_line("validation", 2, done, "validation_accuracy"),
        epoch_line("test", 3, done, "test_accuracy"),
    ]
    metric = str((seen.plan or {}).get("metric") or "accuracy")
    title = metric[0].upper() + metric[1:] if metric.islower() else metric
    common = {"xLabel": "epoch", "xMax": epochs}
    waiting = "The curve begins with the first step."
    return {
        "run": run_id,
        "charts": [
            {"id": "loss", "title": "Loss", "unit": "", "yMin": 0, "empty": waiting, "series": _used(loss)} | common,
            {"id": "accuracy", "title": title, "unit": "%", "yMin": 0, "yMax": 1, "series": _used(accuracy)}
            | common
            | {"empty": f"{title} is known after the first epoch."},
        ],
    }


def _used(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["x"]]


def _line(name: str, tone: int, x: list[float], y: list[float], dots: bool = False) -> dict[str, Any]:
    x, y = thinned(x, y)
    return {
        "name": name,
        "tone": tone,
        "x": [round(value, 4) for value in x],
        "y": [round(value, 5) for value in y],
        "dots": dots and len(x) <= 40,
    }


def epoch_line(name: str, tone: int, epochs: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Return a line of the charts component: what each epoch says under a key, where it says anything."""
    known = [(one["epoch"], one[key]) for one in epochs if one.get(key) is not None]
    return _line(name, tone, [float(epoch) for epoch, _ in known], [value for _, value in known], dots=True)
