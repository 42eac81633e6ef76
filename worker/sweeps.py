"""Sweeps among the runs. Each run's record says of which sweep it is and where in it, so any process finds the table;
beside that, only the plan is kept, for whoever wants to repeat it or queue what is missing.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.training.sweep import (
    Expansion,
    Outcome,
    SweepPlan,
    describe,
    expand,
    parse_plan,
    place_of,
)
from .capability import Needs
from .own_runs import NOBODY
from .run import FINAL, Run, read_json, write_json
from .scrub import holds_token
from .store import RunStore

_AFRESH = ("nan", "memory", "user", "data")
"""Kinds of failure after which a run begins again rather than where it was."""


@dataclass(frozen=True)
class Sweep:
    """A sweep as it stands. `runs` has the newest run of each place, in the plan's order; `planned` how many there are.

    `plan` is None where it was lost with Redis and its file; the runs are known all the same.
    """

    id: str
    name: str
    created: float
    owner: str
    plan: SweepPlan | None
    planned: int
    runs: tuple[Run, ...]

    @property
    def outcomes(self) -> list[Outcome]:
        """What is known of each run, for tables."""
        return [outcome(run) for run in self.runs]

    @property
    def active(self) -> bool:
        return any(run.state not in FINAL for run in self.runs)

    @property
    def missing(self) -> int:
        """How many planned runs were never queued, or have been deleted."""
        return max(0, self.planned - len(self.runs))

    @property
    def failed(self) -> list[Run]:
        """The runs that failed or were cancelled."""
        return [run for run in self.runs if run.state in ("failed", "cancelled")]


def outcome(run: Run) -> Outcome:
    """Return what a run of a sweep came to so far."""
    result = run.result or {}
    return Outcome(
        at=run.sweep.get("at") or {},
        state=run.state,
        run=run.id,
        test=result.get("test_accuracy"),
        validation=result.get("validation_accuracy"),
        trainable=result.get("trainable"),
        seconds=result.get("seconds"),
        memory=run.progress.get("memory") or None,
        metric=str(result.get("metric") or "accuracy"),
        error=str((run.error or {}).get("message") or ""),
    )


class Sweeps:
    """The sweeps that `owner` may see and touch; None stands for a page without logins, and sees all.

    Every method raises Unreachable (a UserError) when Redis does not answer.
    """

    def __init__(self, store: RunStore, owner: Callable[[], str | None] = lambda: None) -> None:
        self._store, self._owner = store, owner

    def start(
        self,
        plan: SweepPlan,
        *,
        name: str = "",
        needs: Needs = Needs(),
        check: Callable[[Any], None] | None = None,
    ) -> str:
        """Queue every run of a plan, all or none, and return the sweep's id. UserError for a plan without a run, for
        one that is queued already, and for whatever refuses a run (`check`, as in `expand`).
        """
        owner = self._owner()
        if owner == NOBODY:
            raise UserError("You are not signed in", remedy="Sign in at the top of the page, then try again")
        found = expand(plan, check)
        if not found.members:
            why = f" {found.refused[0].reason}" if found.refused else ""
            raise UserError(f"No combination of this sweep is a run.{why}")
        content = plan.model_dump(mode="json")
        self._require_new(content, owner)
        self._store.require_room(owner or "", len(found.members))
        if holds_token(json.dumps(content) + name):
            raise UserError("The sweep holds an access token", remedy="Take it out; workers have their own (HF_TOKEN)")
        sweep_id = secrets.token_hex(12)
        note = {
            "id": sweep_id,
            "name": name.strip()[:120] or _named(found),
            "owner": owner or "",
            "plan": content,
            "planned": len(found.members),
            "order": [place_of(member.at) for member in found.members],
        }
        self._keep(note)
        made: list[str] = []
        try:
            for member in found.members:
                made.append(self._queue(note, member.at, member.config, needs).id)
        except BaseException:
            for run_id in reversed(made):  # the last first, so that none of them starts meanwhile
                with contextlib.suppress(UserError):  # one that runs already is cancelled, and stays in the list
                    self._store.cancel(run_id)
                    self._store.delete(run_id)
            self._forget(sweep_id)
            raise
        return sweep_id

    def get(self, sweep_id: str) -> Sweep:
        """The sweep as it stands; UserError for one that is not there, or is somebody else's."""
        if not is_sweep_id(sweep_id):
            raise _unknown(sweep_id)
        ledger = self._store.ledger
        with self._store.address.answering():
            ids = ledger.redis.smembers(ledger.key("sweep", sweep_id))
        runs = self._store.several(sorted(ids))
        note = self._note(sweep_id)
        owner = self._owner()
        whose = note.get("owner", "") if note else (runs[0].owner if runs else "")
        if (not runs and not note) or (owner is not None and whose != owner):
            raise _unknown(sweep_id)
        newest: dict[str, Run] = {}
        for run in sorted(runs, key=lambda run: run.created):
            newest[place_of(run.sweep.get("at") or {})] = run
        order = {place: number for number, place in enumerate(note.get("order") or [])}
        kept = sorted(newest.items(), key=lambda pair: (order.get(pair[0], len(order)), pair[1].created))
        plan: SweepPlan | None = None
        with contextlib.suppress(UserError):
            plan = parse_plan(note["plan"]) if note else None
        return Sweep(
            id=sweep_id,
            name=str(note.get("name") or next((run.sweep.get("name", "") for run in runs), "")),
            created=min((run.created for run in runs), default=0.0),
            owner=whose,
            plan=plan,
            planned=int(note.get("planned") or len(newest)),
            runs=tuple(run for _, run in kept),
        )

    def list(self, limit: int = 50) -> list[Sweep]:
        """The newest sweeps, newest first."""
        ledger = self._store.ledger
        with self._store.address.answering():
            ids = ledger.redis.zrevrange(ledger.key("sweeps"), 0, -1)
        found: list[Sweep] = []
        for sweep_id in ids:
            with contextlib.suppress(UserError):
                found.append(self.get(sweep_id))
            if len(found) == limit:
                break
        return found

    def cancel(self, sweep_id: str) -> int:
        """End every run that has not ended; return how many there were."""
        going = [run for run in self.get(sweep_id).runs if run.state not in FINAL]
        for run in reversed(going):  # the last first, so that none of them starts meanwhile
            self._store.cancel(run.id)
        return len(going)

    def retry(self, sweep_id: str, *, check: Callable[[Any], None] | None = None) -> int:
        """Queue again what failed, was cancelled or is missing; return how many runs that makes.

        A run goes on from its checkpoint where it has one here and its failure was none of its own.
        """
        sweep = self.get(sweep_id)
        note: dict[str, Any] = {"id": sweep.id, "name": sweep.name, "owner": sweep.owner}
        absent = []
        if sweep.plan is not None and sweep.missing:
            there = {place_of(run.sweep["at"]) for run in sweep.runs}
            absent = [one for one in expand(sweep.plan, check).members if place_of(one.at) not in there]
        if sweep.failed or absent:
            self._store.require_room(sweep.owner, len(sweep.failed) + len(absent))
        for run in sweep.failed:
            kind = str((run.error or {}).get("kind") or "")
            goes_on = kind not in _AFRESH and (run.folder / "checkpoint" / "latest.json").is_file()
            self._queue(note, run.sweep["at"], run.config, run.needs, run if goes_on else None)
        needs = sweep.runs[0].needs if sweep.runs else Needs()
        for member in absent:
            self._queue(note, member.at, member.config, needs)
        return len(sweep.failed) + len(absent)

    def delete(self, sweep_id: str) -> None:
        """Remove a sweep with all its runs; UserError while one is running."""
        sweep = self.get(sweep_id)
        if any(run.state == "running" for run in sweep.runs):
            raise UserError("Runs of this sweep are still running", remedy="Cancel them first")
        ledger = self._store.ledger
        with self._store.address.answering():
            ids = ledger.redis.smembers(ledger.key("sweep", sweep_id))
        for run in self._store.several(sorted(ids)):
            self._store.delete(run.id)
        self._forget(sweep_id)

    def _queue(self, note: dict[str, Any], at: dict[str, Any], config: Any, needs: Needs, after: Run | None = None):
        sweep = {"id": note["id"], "name": note["name"], "at": at}
        name = describe(at)[:120]
        return self._store.create(config, name=name, needs=needs, owner=note["owner"], after=after, sweep=sweep)

    def _require_new(self, plan: dict[str, Any], owner: str | None) -> None:
        ledger = self._store.ledger
        with self._store.address.answering():
            ids = ledger.redis.zrevrange(ledger.key("sweeps"), 0, 49)
        for sweep_id in ids:
            note = self._note(sweep_id)
            if note.get("plan") == plan and note.get("owner", "") == (owner or ""):
                active = False
                with contextlib.suppress(UserError):
                    active = self.get(sweep_id).active
                if active:
                    raise AlreadyQueued(sweep_id)

    def _keep(self, note: dict[str, Any]) -> None:
        path = self._file(note["id"])
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(path, note)
        except OSError as error:
            raise UserError(f"The sweep cannot be written ({error.strerror})", got=str(path)) from error
        ledger = self._store.ledger
        with self._store.address.answering():
            ledger.redis.set(ledger.key("sweep-plan", note["id"]), json.dumps(note))

    def _note(self, sweep_id: str) -> dict[str, Any]:
        ledger = self._store.ledger
        with self._store.address.answering():
            text = ledger.redis.get(ledger.key("sweep-plan", sweep_id))
        return json.loads(text) if text else read_json(self._file(sweep_id)) or {}

    def _forget(self, sweep_id: str) -> None:
        ledger = self._store.ledger
        with self._store.address.answering():
            ledger.redis.delete(ledger.key("sweep-plan", sweep_id), ledger.key("sweep", sweep_id))
            ledger.redis.zrem(ledger.key("sweeps"), sweep_id)
        self._file(sweep_id).unlink(missing_ok=True)

    def _file(self, sweep_id: str) -> Path:
        return self._store.data_dir / "sweeps" / f"{sweep_id}.json"


class AlreadyQueued(UserError):
    """The very same sweep is under way; `sweep_id` is its id."""

    def __init__(self, sweep_id: str) -> None:
        super().__init__(
            "This sweep is under way already", got=sweep_id, remedy="Look at it, or cancel it before starting it again"
        )
        self.sweep_id = sweep_id


def is_sweep_id(text: str) -> bool:
    """Whether the text can be a sweep's id at all; checked before it becomes part of a path."""
    return re.fullmatch(r"[0-9a-f]{24}", text) is not None


def _named(found: Expansion) -> str:
    places = [member.at for member in found.members]
    methods = list(dict.fromkeys(str(at["method"]) for at in places))
    data = list(dict.fromkeys(str(at["data"]) for at in places))
    several = ", ".join(methods) if len(methods) < 4 else f"{len(methods)} methods"
    return f"{several} on {', '.join(data) if len(data) < 3 else f'{len(data)} data sets'}"[:120]


def _unknown(sweep_id: str) -> UserError:
    return UserError("There is no such sweep", got=sweep_id[:40], remedy="Look it up in the list of sweeps")
