"""The runs as one visitor may see and touch them: those of others are to him as if they did not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from .capability import Needs
from .run import Run, WorkerInfo
from .store import Jsonable, RunStore

OTHERS = "another's"
"""What a worker is said to run when that is no business of the visitor's."""
NOBODY = "?"
"""The owner of no run: a visitor without a login, where one is asked for."""


class OwnRuns:
    """The store, for whoever `owner` names at each call; None stands for a page without logins, and sees every run.

    Every method asks the store whose run it is before it reads or does anything. UserError as of the store.
    """

    def __init__(self, store: RunStore, owner: Callable[[], str | None]) -> None:
        self._store, self._owner = store, owner

    def get(self, run_id: str) -> Run:
        """The run as it stands; a run of somebody else is as unknown as one that never was."""
        run = self._store.get(run_id)
        owner = self._owner()
        if owner is not None and run.owner != owner:
            raise UserError("There is no such run", got=run_id, remedy="Look the id up in the list of runs")
        return run

    def list(self, limit: int = 100, offset: int = 0) -> list[Run]:
        """The runs, newest first."""
        return self._store.list(limit, offset, self._owner())

    def count(self) -> int:
        """How many there are."""
        return self._store.count(self._owner())

    def create(
        self,
        config: Jsonable | Mapping[str, Any],
        *,
        name: str | None = None,
        needs: Needs = Needs(),
        after: Run | None = None,
    ) -> Run:
        """Queue a run of this visitor; `after` must be one, too. UserError for one who is not signed in."""
        owner = self._owner()
        if owner == NOBODY:
            raise UserError("You are not signed in", remedy="Sign in at the top of the page, then try again")
        if after is not None:
            after = self.get(after.id)
        return self._store.create(config, name=name, needs=needs, owner=owner or "", after=after)

    def events(self, run_id: str, after: str = "0") -> tuple[list[dict[str, Any]], str]:
        """The events behind a cursor, and the cursor for the next call."""
        self.get(run_id)
        return self._store.events(run_id, after)

    def log(self, run_id: str, lines: int = 40) -> list[str]:
        """The last lines that the trainer printed."""
        self.get(run_id)
        return self._store.log(run_id, lines)

    def cancel(self, run_id: str) -> Run:
        """End the run."""
        self.get(run_id)
        return self._store.cancel(run_id)

    def label(
        self, run_id: str, *, name: str | None = None, note: str | None = None, tags: Sequence[str] | None = None
    ) -> Run:
        """Give a run a name, a note or tags."""
        self.get(run_id)
        return self._store.label(run_id, name=name, note=note, tags=tags)

    def discard(self, run_id: str) -> None:
        """Take an ended or queued run off the list, for a while so that it can be had back."""
        self.get(run_id)
        self._store.discard(run_id)

    def restore(self, run_id: str) -> Run:
        """Put a discarded run back into the list."""
        self.get(run_id)
        return self._store.restore(run_id)

    def discarded(self) -> list[Run]:
        """The visitor's runs that are in the bin, the newest there first."""
        owner = self._owner()
        return [run for run in self._store.discarded() if owner is None or run.owner == owner]

    def delete(self, run_id: str) -> None:
        """Remove an ended or queued run with everything in its folder."""
        self.get(run_id)
        self._store.delete(run_id)

    def bring(self, run: Run, part: str) -> Path:
        """A part of an ended run's folder, fetched first where another machine made it."""
        return self._store.bring(self.get(run.id), part)

    def workers(self) -> list[WorkerInfo]:
        """The workers; to a visitor with a login, what they run is told of his own runs only."""
        found = self._store.workers()
        if self._owner() is None:
            return found
        return [_discreet(worker, self) for worker in found]


def _discreet(worker: WorkerInfo, runs: OwnRuns) -> WorkerInfo:
    if worker.running is None:
        return worker
    try:
        runs.get(worker.running)
    except UserError:
        return replace(worker, running=OTHERS)
    return worker
