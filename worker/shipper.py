"""Carrying a run's events from the trainer's files into the Redis stream, in order and each exactly once.

The trainer only ever writes to its file and never waits for Redis. Lines of earlier attempts that their supervisor no
longer could send go first; they are complete, because the first line of the new attempt is written under the folder's
lock, which the old trainer held.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .ledger import Claim, Ledger
from .timeline import Cursor, Entry, complete_lines, events_file, tokens

BATCH = 200


class Shipper:
    """Reads on where the last call stopped; nothing is forgotten while Redis is away."""

    def __init__(self, ledger: Ledger, claim: Claim, folder: Path):
        self._ledger = ledger
        self._claim = claim
        self._folder = folder
        self._progress: dict[str, Any] = json.loads(claim.fields.get("progress") or "{}")
        self._mark = int(claim.fields.get("mark") or 0)
        self._read: dict[int, tuple[int, int]] = {}
        """Of each attempt's file: the byte and the number of lines up to which all is sent."""
        self._sent: Cursor | None = None
        self.checkpoints = 0
        """Grows with every checkpoint that was told."""

    @property
    def offset(self) -> int:
        """The byte up to which this attempt's own events are in Redis."""
        return self._read.get(self._claim.token, (0, 0))[0]

    def ship(self) -> bool:
        """Send what is new; False when the run is no longer ours. Raises Unreachable, and then may be called again."""
        if self._sent is None:
            self._sent = self._ledger.last_entry(self._claim.id)
        own = events_file(self._folder, self._claim.token)
        # Looked at first: lines of our own prove that those of the older attempts are all there by now.
        newest = self._claim.token if own.exists() and own.stat().st_size else self._claim.token - 1
        for token in tokens(self._folder):
            if not self._sent.token <= token <= newest:
                continue
            if not self._ship_attempt(token):
                return False
        return True

    def _ship_attempt(self, token: int) -> bool:
        """Send what one attempt wrote; where it stands is noted only after Redis took it."""
        while True:
            offset, number = self._read.get(token, (0, 0))
            lines, end = complete_lines(events_file(self._folder, token), offset, limit=1 << 16)
            if not lines:
                return True
            sent = self._sent or Cursor()
            entries = [
                (token, at, line) for at, line in enumerate(lines, number + 1) if token > sent.token or at > sent.number
            ]
            for begin in range(0, len(entries), BATCH):
                some = entries[begin : begin + BATCH]
                if not self._ledger.append(self._claim, some, self._learn(some), self._mark):
                    return False
                self._sent = Cursor(token, some[-1][1])
            self._read[token] = end, number + len(lines)
            while self._ledger.pack(self._claim):
                pass

    def _learn(self, entries: list[Entry]) -> dict[str, Any]:
        """Keep the progress and the newest checkpoint's step up to date with these events."""
        for _, _, line in entries:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if not isinstance(event, dict):
                continue
            if event.get("kind") == "checkpoint":
                self._mark = max(self._mark, int(event["step"]))
                self.checkpoints += 1
            self._progress.update(progress_of(event))
        return self._progress


def progress_of(event: dict[str, Any]) -> dict[str, Any]:
    """What an event changes in the short summary that a list of runs shows."""
    kind = event.get("kind")
    if kind == "stage":
        return {"stage": event["stage"], "message": event.get("message", "")}
    if kind == "note":
        return {"message": event["message"]}
    if kind == "plan":
        return {"epochs": event["epochs"], "steps": event["epochs"] * event["steps_per_epoch"]}
    if kind == "step":
        return {key: event[key] for key in ("step", "epoch", "loss", "eta_seconds")}
    if kind == "epoch" and event.get("peak_memory_bytes"):
        return {"memory": event["peak_memory_bytes"]}
    if kind == "finished":
        return {"stage": "finished", "message": "", "eta_seconds": 0.0}
    return {}
