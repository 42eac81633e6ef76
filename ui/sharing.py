"""What is being published or verified for which run: in a thread that outlives the visit, and noted beside the run.

A token is in the thread's `Hub` object and nowhere else: not in the note, not in Redis, not in what is said.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..core.durable import write_synced
from ..core.errors import UserError
from ..core.hub.push import Told

What = Literal["push", "verify", "space"]
NOTE = "shared.json"


@dataclass
class Task:
    """One thing being done. `note` is what is remembered of it, once it is done."""

    what: What
    doing: str = "Starting"
    share: float = 0.0
    error: str = ""
    note: dict[str, Any] = field(default_factory=dict)
    over: bool = False

    def told(self, doing: str, share: float) -> None:
        self.doing, self.share = doing, max(self.share, share)


Work = Callable[[Told], Any]
"""Does it, telling how far it is; returns a dataclass of plain values that is noted."""


class Sharing:
    """The tasks of this page, one at a time for each run. Who may ask about a run is checked by the caller."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._lock = threading.Lock()

    def task(self, run_id: str) -> Task | None:
        """What is being done for a run, or was last."""
        return self._tasks.get(run_id)

    def start(self, run_id: str, folder: Path, what: What, work: Work) -> Task:
        """Begin; UserError while something else is being done for this run."""
        with self._lock:
            before = self._tasks.get(run_id)
            if before is not None and not before.over:
                raise UserError("This run is being shared already", remedy="Wait until that is done")
            task = self._tasks[run_id] = Task(what)
        threading.Thread(target=_do, args=(task, folder, work), name=f"share-{run_id}", daemon=True).start()
        return task


def _do(task: Task, folder: Path, work: Work) -> None:
    try:
        task.note = {**asdict(work(task.told)), "at": time.time()}
        remember(folder, task.what, task.note)
    except UserError as error:
        task.error = str(error)
    except Exception as error:  # a bug must not look like something that goes on for ever
        task.error = f"{type(error).__name__}: this is a fault of Pointsmith; its log says more"
        raise
    finally:
        task.over = True


def remember(folder: Path, what: What, note: dict[str, Any]) -> None:
    """Note beside a run what was published or found."""
    with contextlib.suppress(OSError):
        write_synced(folder / NOTE, json.dumps({**remembered(folder), what: note}).encode())


def remembered(folder: Path) -> dict[str, Any]:
    """Return {what: note} of a run."""
    try:
        found = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
