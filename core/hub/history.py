"""What a run told while it went on, gathered for its card: curves, plan, cost, and routing where it was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..schema import is_mapping

EVENTS = "events*.jsonl"
"""The files in a run's folder in which its events are, whoever trained it."""
_LIMIT = 64 << 20


@dataclass
class History:
    """A run's events by kind. `steps` is {step: loss}; of what was told twice the newest counts."""

    plan: dict[str, Any] = field(default_factory=dict[str, Any])
    steps: dict[int, float] = field(default_factory=dict[int, float])
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    routed: dict[str, Any] = field(default_factory=dict[str, Any])
    finished: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> History:
        """Gather events, given as plain data."""
        found = cls()
        for event in events:
            kind = event.get("kind")
            if kind == "step":
                found.steps[int(event["step"])] = float(event["loss"])
            elif kind == "epoch":
                found.epochs[int(event["epoch"])] = dict(event)
            elif kind in ("plan", "routed", "finished"):
                setattr(found, str(kind), dict(event))
        return found

    @property
    def seconds(self) -> float:
        """How long the training took."""
        return float(sum(one.get("seconds") or 0.0 for one in self.epochs.values()))

    @property
    def peak_bytes(self) -> int:
        """The most memory that it needed, 0 where that was not measured."""
        return max((int(one.get("peak_memory_bytes") or 0) for one in self.epochs.values()), default=0)


def read_history(folder: Path) -> History:
    """Return the history of a run's folder, an empty one where no events are; torn lines are passed over."""
    events: list[dict[str, Any]] = []
    for path in sorted(folder.glob(EVENTS), key=lambda one: (len(one.name), one.name)):
        if path.stat().st_size > _LIMIT:
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if is_mapping(event):
                events.append(event)
    return History.of(events)
