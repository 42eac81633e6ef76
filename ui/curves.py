"""What a run's events have said so far, read piece by piece and kept for every viewer: curves, plan and scores."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
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
    """The events of one run, gathered.

    `steps` is (step, loss), and `numbers` beside it (learning rate, gradient norm, inputs a second); `scores` the
    Scores event of each split.
    """

    cursor: str = "0"
    plan: dict[str, Any] | None = None
    steps: list[tuple[int, float]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    routed: list[dict[str, Any]] = field(default_factory=list)
    scaled: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[tuple[float, float, float]] = field(default_factory=list)
    last: dict[str, Any] | None = None
    _made: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def once(self, what: str, key: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` makes, made again only when the key is another one or something new was said."""
        key = (self.cursor, key)
        known = self._made.get(what)
        if known is None or known[0] != key:
            self._made[what] = known = (key, make())
        return known[1]

    def add(self, event: dict[str, Any]) -> None:
        """Take one more event in."""
        kind = event.get("kind")
        if kind == "plan":
            self.plan = event
        elif kind == "step":
            self.steps.append((event["step"], event["loss"]))
            self.numbers.append(tuple(event.get(key, 0.0) for key in ("lr", "grad_norm", "clouds_per_second")))
            self.last = event
        elif kind == "epoch":
            self.epochs.append(event)
        elif kind == "routed":
            self.routed.append(event)
        elif kind == "scaled":
            self.scaled.append(event)
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
            events, cursor = self.store.events(run_id, after=seen.cursor)
            for event in events:
                seen.add(event)
            seen.cursor = cursor  # last: what `once` makes meanwhile is made again
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
    at = [step / per_epoch for step, _ in steps]
    loss = [_line("training, each step", 1, at, [value for _, value in steps]) | {"smooth": True}]
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
            *(one | common for one in _small(seen, at)),
        ],
    }


def _small(seen: Seen, at: list[float]) -> list[dict[str, Any]]:
    """Return the small charts: what each step says besides its loss, memory, and what router or scales do."""
    noun = (seen.plan or {}).get("noun") or "clouds"
    done, numbers = list(seen.epochs), seen.numbers[: len(at)]
    at = at[: len(numbers)]
    found: list[dict[str, Any]] = []
    for i, (key, title, name) in enumerate(
        (
            ("lr", "Learning rate", "learning rate"),
            ("norm", "Gradient norm", "gradient norm"),
            ("speed", "Throughput", f"{noun} per second"),
        )
    ):
        line = _line(name, 1, at, [one[i] for one in numbers], digits=9 if key == "lr" else 3)
        found.append(
            {"id": key, "title": title, "unit": "", "yMin": 0, "series": _used([line | {"smooth": key != "lr"}])}
        )
    memory = [one | {"gigabytes": one["peak_memory_bytes"] / 1e9} for one in done if one.get("peak_memory_bytes")]
    line = epoch_line("peak, GB", 1, memory, "gigabytes")
    found.append({"id": "memory", "title": "Memory", "unit": "", "yMin": 0, "series": _used([line])})
    if any(one.get("entropy") for one in seen.routed):
        found.append(_spread("entropy", "Entropy of the gates", seen.routed, "entropy"))
    if any(one.get("mean") for one in seen.scaled):
        found.append(_spread("scale", "Dynamic scale", seen.scaled, "mean"))
    return [one | {"small": True, "empty": "Not known yet."} for one in found]


def _spread(key: str, title: str, events: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """Return a chart of a number per block over epochs: highest, mean and lowest block."""
    rows = [
        {"epoch": one["epoch"], "mean": sum(one[what]) / len(one[what]), "high": max(one[what]), "low": min(one[what])}
        for one in sorted(
            {one["epoch"]: one for one in events if not one.get("kept")}.values(), key=lambda e: e["epoch"]
        )
    ]
    lines = [
        epoch_line(name, tone, rows, at)
        for name, tone, at in (("highest block", 2, "high"), ("mean", 1, "mean"), ("lowest block", 3, "low"))
    ]
    return {"id": key, "title": title, "unit": "", "series": _used(lines)}


def _used(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["x"]]


def _line(name: str, tone: int, x: list[float], y: list[float], dots: bool = False, digits: int = 5) -> dict[str, Any]:
    x, y = thinned(x, y)
    return {
        "name": name,
        "tone": tone,
        "x": [round(value, 4) for value in x],
        "y": [round(value, digits) for value in y],
        "dots": dots and len(x) <= 40,
    }


def epoch_line(name: str, tone: int, epochs: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """Return a line of the charts component: what each epoch says under a key, where it says anything."""
    known = [(one["epoch"], one[key]) for one in epochs if one.get(key) is not None]
    return _line(name, tone, [float(epoch) for epoch, _ in known], [value for _, value in known], dots=True)
