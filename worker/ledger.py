"""The queue's book in Redis: who may run what, as atomic moves with a fencing token.

Used by supervisors and reapers; the page and the command line use RunStore, which stands on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic_core import from_json

from . import packing, quotas, scripts
from .connection import RedisAddress
from .run import State
from .timeline import Cursor, Entry
from .timing import Timing

Outcome = Literal["succeeded", "failed", "interrupted", "lost"]
Fields = dict[str, str]
_AT_ONCE = 5000
"""Entries that one script reads: Redis answers nobody else meanwhile."""


@dataclass(frozen=True)
class Claim:
    """A run that is ours until the lease ends: `token` proves it."""

    id: str
    token: int
    fields: Fields

    @property
    def queue(self) -> str:
        """Where it waits when it is given back."""
        return self.fields.get("queue") or "any"


@dataclass(frozen=True)
class Standing:
    """How a claim stands: still ours, and whether somebody wishes the run to end."""

    ours: bool
    cancel: bool


class Ledger:
    """One connection and its scripts. Every method raises Unreachable when Redis does not answer."""

    def __init__(self, address: RedisAddress, timing: Timing, *, retries: int = 1):
        self.address = address
        self.timing = timing
        self.redis: Any = address.client(retries=retries)  # redis-py's own types allow every answer to be awaitable
        names = (
            "CREATE",
            "CLAIM",
            "CLAIM_NEXT",
            "RENEW",
            "APPEND",
            "FINISH",
            "CANCEL",
            "DELETE",
            "REAP",
            "OVERDUE",
            "OWNED",
            "PACK",
            "TELL",
            "LOOK",
        )
        self._scripts = {name: self.redis.register_script(getattr(scripts, name)) for name in names}

    def close(self) -> None:
        """Give the connections back."""
        self.redis.close()

    @staticmethod
    def key(*parts: str) -> str:
        """A key under our prefix: `key("run", id)`."""
        return scripts.PREFIX + ":".join(parts)

    def _call(self, name: str, keys: list[str], *arguments: object) -> Any:
        with self.address.answering():
            return self._scripts[name](keys=keys, args=list(arguments))

    def _told(self, run_id: str) -> list[str]:
        return [self._run(run_id), self.key("ev", run_id), self.key("packed", run_id)]

    def _run(self, run_id: str) -> str:
        return self.key("run", run_id)

    def create(
        self,
        run_id: str,
        fields: Mapping[str, object],
        created: float | None = None,
        *,
        limit: int = 0,
    ) -> bool:
        """Enter a run; False when it is there already. `created` None means now.

        Raises QuotaExceeded where its owner has `limit` queued and running runs already; 0 is no limit. That is
        checked in the same step, so that runs submitted at once cannot pass it together.
        """
        rest = {key: value for key, value in fields.items() if key != "owner"}
        flat = [part for pair in rest.items() for part in pair]
        keys = [self._run(run_id), self.key("queued"), self.key("runs")]
        when = "" if created is None else f"{created:.6f}"
        answer = self._call("CREATE", keys, run_id, when, fields.get("owner", ""), limit, *flat)
        if answer < 0:
            raise quotas.too_many_runs(-answer, 1, limit)
        return bool(answer)

    def active(self, owner: str) -> int:
        """Return how many queued and running runs an owner has."""
        with self.address.answering():
            return int(self.redis.scard(self.key("active", owner)))

    def claim(self, run_id: str, worker: str) -> Claim | None:
        """Take this queued run, whoever is next; None when it is not queued (any more)."""
        keys = [self._run(run_id), self.key("queued"), self.key("leases")]
        return _claim(self._call("CLAIM", keys, run_id, worker, self.timing.lease))

    def claim_next(self, queue: str, worker: str) -> Claim | None:
        """Take the run that is next in a queue of workers, in fair order between owners; None when none waits."""
        return _claim(self._call("CLAIM_NEXT", [self.key("leases")], queue, worker, self.timing.lease))

    def renew(self, claim: Claim) -> bool:
        """Make the lease last from now on again; False when the run is no longer ours."""
        keys = [self._run(claim.id), self.key("leases")]
        return bool(self._call("RENEW", keys, claim.id, claim.token, self.timing.lease))

    def standing(self, claim: Claim) -> Standing:
        """Look, without writing anything."""
        with self.address.answering():
            state, attempt, cancel = self.redis.hmget(self._run(claim.id), "state", "attempt", "cancel")
        return Standing(state == "running" and attempt == str(claim.token), cancel == "1")

    def append(self, claim: Claim, entries: list[Entry], progress: Mapping[str, Any], mark: int) -> bool:
        """Add events to the stream and set the progress; `mark` is the step of the newest checkpoint.

        Sending the same entries again changes nothing. False when the run is no longer ours.
        """
        flat = [part for token, number, line in entries for part in (f"{token}-{number}", line)]
        keys = [self._run(claim.id), self.key("ev", claim.id)]
        return bool(self._call("APPEND", keys, claim.token, json.dumps(progress), mark, *flat))

    def last_entry(self, run_id: str) -> Cursor:
        """Up to where the stream goes."""
        with self.address.answering():
            found = self.redis.xrevrange(self.key("ev", run_id), count=1)
        if not found:
            return Cursor()
        token, number = found[0][0].split("-")
        return Cursor(int(token), int(number))

    def pack(self, claim: Claim) -> bool:
        """Put the oldest entries of a long stream into a blob; False: nothing to do, or the run is not ours."""
        with self.address.answering():
            if self.redis.xlen(self.key("ev", claim.id)) < 2 * packing.SOME:
                return False
        told = self._tell(claim.id, Cursor(), packing.SOME)
        if not told or not told[0]:
            return False
        found = told[0]
        first, last = (f"{token}-{number}" for token, number, _ in (found[0], found[-1]))
        arguments = (claim.token, first, last, packing.packed(found))
        return bool(self._call("PACK", self._told(claim.id), *arguments))

    def ended(self, limit: int) -> list[str]:
        """The runs that ended longer ago than streams are kept, and whose streams are still here; oldest first."""
        with self.address.answering():
            seconds, _ = self.redis.time()
            until = seconds - self.timing.keep_streams
            return list(self.redis.zrangebyscore(self.key("ended"), "-inf", until, start=0, num=limit))

    def drop_stream(self, run_id: str) -> None:
        """Forget an ended run's events: they are in files."""
        with self.address.answering():
            pipe = self.redis.pipeline()
            pipe.delete(self.key("ev", run_id), self.key("packed", run_id))
            pipe.zrem(self.key("ended"), run_id)
            pipe.execute()

    def entries(self, run_id: str, after: Cursor) -> list[Entry] | None:
        """The events behind the cursor; None when there is no stream at all."""
        found: list[Entry] = []
        at, older, more = after, False, True
        while more:
            told = self._tell(run_id, at, _AT_ONCE)
            if told is None:
                return None
            some, more, packed = told
            found += some
            older = older or packed
            if some:
                at = Cursor(some[-1][0], some[-1][1])
        # A set, because what is packed while we read is found in both places.
        return sorted({*self._packed(run_id, after), *found}) if older else found

    def _tell(self, run_id: str, after: Cursor, count: int) -> tuple[list[Entry], bool, bool] | None:
        """Some entries of the stream, whether there may be more, and whether some before them are packed."""
        keys = [self.key("ev", run_id), self.key("packed", run_id)]
        told = self._call("TELL", keys, f"{after.token}-{after.number + 1}", count)
        if not told:
            return None
        ids, lines, more, older = told
        places = (one.split("-") for one in ids.split("\n")) if ids else ()
        found = [(int(token), int(number), line) for (token, number), line in zip(places, lines.split("\n"))]
        return found, bool(more), bool(older)

    def _packed(self, run_id: str, after: Cursor) -> list[Entry]:
        """The packed entries behind the cursor."""
        with self.address.answering():
            blobs: list[str] = self.redis.lrange(self.key("packed", run_id), 0, -1)
        seen = (after.token, after.number)
        return [entry for blob in blobs for entry in packing.unpacked(blob) if entry[:2] > seen]

    def look(self, ids: Sequence[str]) -> list[tuple[Fields, int | None]]:
        """Fields and place in the queue (from 0) of each of these runs; those that are gone are left out."""
        flat = self._call("LOOK", [], *ids)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [(from_json(fields), int(rank) if rank else None) for fields, rank in pairs if fields]

    def finish(
        self,
        claim: Claim,
        outcome: Outcome,
        *,
        error: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> State | None:
        """End the attempt; the run's state afterwards, None when it was no longer ours.

        `lost` counts against the budget and becomes `failed` with `error` when that is used up.
        """
        keys = [self._run(claim.id), self.key("queued"), self.key("leases")]
        state = self._call(
            "FINISH",
            keys,
            claim.id,
            claim.token,
            outcome,
            json.dumps(error) if error else "",
            json.dumps(result) if result else "",
            self.timing.budget,
        )
        return state or None

    def cancel(self, run_id: str) -> State | None:
        """Wish the run's end: a queued one is cancelled at once. The state afterwards, None when unknown."""
        keys = [self._run(run_id), self.key("queued"), self.key("leases")]
        return self._call("CANCEL", keys, run_id) or None

    def delete(self, run_id: str) -> bool:
        """Forget the run; False when it is running."""
        keys = [self.key(name) for name in ("queued", "leases", "runs", "ended")]
        return bool(self._call("DELETE", [*self._told(run_id), *keys], run_id))

    def enter_sweep(self, sweep_id: str | None, run_id: str, created: float | None = None) -> None:
        """Note that a run is of a sweep (None: of none), so that the sweep's runs are found without reading all."""
        if sweep_id:
            with self.address.answering():
                seconds, micro = self.redis.time()
                pipe = self.redis.pipeline()
                pipe.sadd(self.key("sweep", sweep_id), run_id)
                pipe.zadd(self.key("sweeps"), {sweep_id: created or seconds + micro / 1e6}, nx=True)
                pipe.execute()

    def leave_sweep(self, sweep_id: str | None, run_id: str) -> bool:
        """Forget that; whether it was the last run, with which the sweep is gone."""
        if not sweep_id:
            return False
        with self.address.answering():
            self.redis.srem(self.key("sweep", sweep_id), run_id)
            if self.redis.exists(self.key("sweep", sweep_id)):
                return False
            self.redis.zrem(self.key("sweeps"), sweep_id)
            self.redis.delete(self.key("sweep-plan", sweep_id))
        return True

    def owned(self, owner: str, limit: int, offset: int) -> tuple[list[str], int]:
        """The ids of an owner's runs, newest first, and how many there are in all."""
        *found, count = self._call("OWNED", [self.key("runs")], scripts.PREFIX, owner, limit, offset)
        return found, int(count)

    def reap(self, error: Mapping[str, Any]) -> list[tuple[str, State, str]]:
        """Take the runs from workers whose lease has ended; each with its state afterwards and its queue."""
        keys = [self.key("leases"), self.key("queued")]
        flat = self._call("REAP", keys, scripts.PREFIX, self.timing.budget, json.dumps(error))
        return list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))

    def overdue(self, queues: Sequence[str]) -> list[tuple[str, str]]:
        """The runs of these queues that wait longer than a hint needs, and their queue; for one caller at a time."""
        keys = [self.key("queued"), self.key("resent")]
        flat = self._call("OVERDUE", keys, scripts.PREFIX, self.timing.resend, *queues)
        return list(zip(flat[::2], flat[1::2], strict=True))

    def server(self) -> tuple[str, int]:
        """Which life of the server this is, and its age in seconds."""
        with self.address.answering():
            info = self.redis.info("server")
        return str(info["run_id"]), int(info["uptime_in_seconds"])


def _claim(flat: list[str]) -> Claim | None:
    """Read what a script that claims answers: the run's fields in turn with their values, or nothing."""
    if not flat:
        return None
    fields = cast(Fields, dict(zip(flat[::2], flat[1::2], strict=True)))
    return Claim(fields["id"], int(fields["attempt"]), fields)
