"""What a run is to whoever looks at it, and how its folder is laid out."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..core.durable import write_synced
from ..core.errors import UserError
from .capability import Needs
from .scrub import scrubber

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL: tuple[State, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Run:
    """One run as it stands now. Times are seconds since 1970 by Redis's clock.

    `position` is the place in the queue (1 = next), None unless queued. `progress` is the last known stage, epoch,
    epochs, step, steps, eta_seconds, loss and message, as far as they are known. `error` is
    {"kind": one of failures.Kind, "message": one sentence, "log": the last lines}, `result` the Finished event.
    `cancelling` is set between the wish and the end of a running trainer. `owner` started it; empty: the operator.
    `sweep` holds the id and name of the sweep it belongs to and its coordinates in it (`at`); empty for a single run.
    `note` and `tags` are a person's; `discarded` is when it was thrown into the bin, from which it can be had back.
    """

    id: str
    name: str
    state: State
    created: float
    started: float | None
    finished: float | None
    worker: str | None
    attempt: int
    position: int | None
    config: dict[str, Any]
    progress: dict[str, Any]
    error: dict[str, Any] | None
    result: dict[str, Any] | None
    folder: Path
    cancelling: bool = False
    needs: Needs = field(default_factory=Needs)
    owner: str = ""
    sweep: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    tags: tuple[str, ...] = ()
    discarded: float | None = None
    away: bool = False
    """Whether checkpoints of it went to an artefact store."""


@dataclass(frozen=True)
class WorkerInfo:
    """A worker that gave a sign of life lately; `running` is the id of the run it holds.

    `memory_gb` is the GPU's, or the machine's where there is none; `queues` say which runs it can take.
    """

    name: str
    host: str
    pid: int
    device: str
    running: str | None
    heartbeat: float
    memory_gb: float | None = None
    queues: tuple[str, ...] = ("cpu", "any")

    @classmethod
    def parse(cls, name: str, note: str, running: str | None) -> WorkerInfo:
        """Read a worker's own note in Redis."""
        values = json.loads(note)
        queues = tuple(values.pop("queues", ("cpu", "any")))
        return cls(name=name, running=running, queues=queues, **values)


def is_run_id(text: str) -> bool:
    """Whether the text can be a run's id at all; checked before it becomes part of a path."""
    return re.fullmatch(r"[0-9a-f]{24}", text) is not None


def run_folder(data_dir: Path, run_id: str) -> Path:
    """`<data>/runs/<id>`; raises UserError for anything that is not an id."""
    if not is_run_id(run_id):
        raise UserError("There is no such run", got=run_id, remedy="Look the id up in the list of runs")
    return data_dir / "runs" / run_id


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write so that after a crash at any moment the file is either the old or the new one, synced to disk."""
    write_synced(path, json.dumps(value).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in the file; None when there is no such file or it holds no JSON object."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def last_lines(path: Path, lines: int) -> list[str]:
    """The last lines of a text file, reading only its end; [] when there is none. Secrets are blacked out."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 400 * max(lines, 1) - 4096))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    found = scrubber()(text).removesuffix("\n").split("\n")
    # A progress bar rewrites one line with carriage returns; only what it showed last is of interest.
    return [line.rstrip("\r").rpartition("\r")[2] for line in found][-lines:] if lines > 0 and text else []
