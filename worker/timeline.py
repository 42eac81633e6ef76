"""One run's events as one story, though several attempts may have told parts of it.

Each attempt writes `events-<token>.jsonl`; line n of it is event `<token>-<n>`, in the file, in the Redis stream and in
every cursor alike, so either source can stand in for the other. An attempt that resumes from a checkpoint may repeat
what the one before had told after that checkpoint.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from ..core.errors import UserError

Entry = tuple[int, int, str]
"""Token, number of the line (from 1) and the line itself: one event as JSON."""


@dataclass(frozen=True)
class Cursor:
    """How far a reader has come: the last event seen, and the highest step and epoch among all that it was given."""

    token: int = 0
    number: int = 0
    step: int = 0
    epoch: int = 0

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str` gives; "0" is the beginning."""
        if text == "0":
            return cls()
        found = re.fullmatch(r"(\d+)-(\d+):(\d+):(\d+)", text)
        if not found:
            raise UserError("This is no place in a run's events", got=text, expected='"0" or a cursor returned before')
        return cls(*(int(part) for part in found.groups()))

    def __str__(self) -> str:
        if self == Cursor():
            return "0"
        return f"{self.token}-{self.number}:{self.step}:{self.epoch}"


def events_file(folder: Path, token: int) -> Path:
    """Where attempt `token` writes its events."""
    return folder / f"events-{token}.jsonl"


def tokens(folder: Path) -> list[int]:
    """The attempts that left events in the folder, oldest first."""
    found = (re.fullmatch(r"events-(\d+)\.jsonl", path.name) for path in folder.glob("events-*.jsonl"))
    return sorted(int(match[1]) for match in found if match)


def complete_lines(path: Path, offset: int, limit: int = 1 << 20) -> tuple[list[str], int]:
    """The whole lines from a byte offset on, and the offset behind them; a line still being written is left.

    About `limit` bytes at a time, but always at least one line when there is one.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(limit)
            while data and b"\n" not in data and (more := file.read(limit)):
                data += more
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    return [line.decode(errors="replace") for line in data[:end].split(b"\n")[:-1]], offset + end


def read_entries(folder: Path, after: Cursor) -> Iterator[Entry]:
    """The entries behind the cursor, from the files."""
    for token in tokens(folder):
        if token < after.token:
            continue
        offset, number = 0, 0
        while True:
            lines, offset = complete_lines(events_file(folder, token), offset)
            if not lines:
                break
            for line in lines:
                number += 1
                if token > after.token or number > after.number:
                    yield token, number, line


def parse(entries: Iterable[Entry]) -> tuple[list[tuple[int, dict[str, Any]]], tuple[int, int] | None]:
    """The events with the attempt that told each, and the place of the last entry; torn lines are passed over."""
    known = list(entries)
    try:
        # All at once: it is the quickest way through tens of thousands of lines.
        events = from_json("[" + ",".join(line for _, _, line in known) + "]")
    except ValueError:
        events = [_event(line) for _, _, line in known]
    if len(events) != len(known):  # a torn line that happened to close a bracket
        events = [_event(line) for _, _, line in known]
    found = [(entry[0], event) for entry, event in zip(known, events) if isinstance(event, dict)]
    return found, (known[-1][0], known[-1][1]) if known else None


def _event(line: str) -> Any:
    try:
        return from_json(line)
    except ValueError:
        return None  # torn by a crash; the attempt that followed tells it again


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away from tens of thousands of new objects of which none is garbage.

    Each of its full passes over them and all that the page keeps took about 110 ms.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def tell(entries: Iterable[Entry], seen: Cursor) -> tuple[list[dict[str, Any]], Cursor]:
    """The story behind `seen`: no step and no epoch twice; where attempts overlap, the newest one is believed."""
    told, last = parse(entries)
    resumed_at: dict[int, dict[str, int]] = {}
    for token, event in told:
        kind = event.get("kind")
        key = _PLACES.get(kind)
        if key is not None and kind not in (first := resumed_at.setdefault(token, {})):
            first[kind] = event[key]
    # From where on an attempt's word counts no more, because a later one told that again.
    limits: dict[int, dict[str, int]] = {}
    below: dict[str, int] = {}
    for token in sorted({token for token, _ in told}, reverse=True):
        limits[token] = dict(below)
        for kind, place in resumed_at.get(token, {}).items():
            below[kind] = min(place, below.get(kind, place))
    high = {"step": seen.step, "epoch": seen.epoch}
    kept: list[dict[str, Any]] = []
    for token, event in told:
        kind = event.get("kind")
        key = _PLACES.get(kind)
        if key is not None:
            place = event[key]
            limit = limits[token].get(kind)
            if limit is not None and place >= limit:
                continue
            if kind in high:
                if place <= high[kind]:
                    continue
                high[kind] = place
        kept.append(event)
    return kept, Cursor(*(last or (seen.token, seen.number)), high["step"], high["epoch"])


def count_lines(path: Path) -> int:
    """The number of whole lines in a file; 0 when there is none."""
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except FileNotFoundError:
        return 0


_PLACES: dict[Any, str] = {"step": "step", "epoch": "epoch", "checkpoint": "step"}
"""What tells how far an event of this kind is."""
