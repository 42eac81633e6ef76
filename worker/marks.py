"""What a person does to a run besides running it: a name, a note, tags, and throwing it away with a while to repent."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..core.errors import UserError
from .ledger import Ledger
from .scrub import holds_token

NAME, NOTE, TAGS, TAG = 120, 4000, 12, 32
"""The longest name and note, the most tags, and the longest of them, in characters."""
REPENT = 600.0
"""Seconds for which a discarded run can be had back."""


def label(
    ledger: Ledger, run_id: str, *, name: str | None = None, note: str | None = None, tags: Sequence[str] | None = None
) -> None:
    """Write name, note and tags of a run, those that are given. UserError for what is too long, or holds a token."""
    fields: dict[str, str] = {}
    if name is not None:
        name = " ".join(name.split())
        if not name:
            raise UserError("A run needs a name")
        fields["name"] = _short(name, NAME, "name")
    if note is not None:
        fields["note"] = _short(note.strip(), NOTE, "note")
    if tags is not None:
        found = list(dict.fromkeys(_short(" ".join(tag.split()), TAG, "tag") for tag in tags if tag.strip()))
        if len(found) > TAGS:
            raise UserError("Too many tags", got=len(found), expected=f"at most {TAGS}")
        fields["tags"] = json.dumps(found)
    if any(holds_token(value) for value in fields.values()):
        raise UserError("This text holds an access token", remedy="Take it out: others may read it")
    if fields:
        with ledger.address.answering():
            ledger.redis.hset(ledger.key("run", run_id), mapping=fields)


def discard(ledger: Ledger, run_id: str) -> None:
    """Take an ended run off the list, into the bin."""
    with ledger.address.answering():
        seconds, micro = ledger.redis.time()
        now = f"{seconds + micro / 1e6:.6f}"
        pipe = ledger.redis.pipeline()
        pipe.hset(ledger.key("run", run_id), "discarded", now)
        pipe.zrem(ledger.key("runs"), run_id)
        pipe.zadd(ledger.key("bin"), {run_id: float(now)})
        pipe.execute()


def restore(ledger: Ledger, run_id: str, created: float) -> bool:
    """Put a discarded run back at its place in the list; False when it is not in the bin (any more)."""
    with ledger.address.answering():
        if not ledger.redis.zrem(ledger.key("bin"), run_id):
            return False
        pipe = ledger.redis.pipeline()
        pipe.hdel(ledger.key("run", run_id), "discarded")
        pipe.zadd(ledger.key("runs"), {run_id: created})
        pipe.execute()
    return True


def binned(ledger: Ledger) -> list[str]:
    """The runs in the bin, the newest there first."""
    with ledger.address.answering():
        return list(ledger.redis.zrevrange(ledger.key("bin"), 0, -1))


def overdue(ledger: Ledger) -> list[str]:
    """The runs that have been in the bin for so long that they are to be deleted."""
    with ledger.address.answering():
        return list(ledger.redis.zrangebyscore(ledger.key("bin"), "-inf", ledger.redis.time()[0] - REPENT))


def forget(ledger: Ledger, run_id: str) -> None:
    """Take a deleted run out of the bin."""
    with ledger.address.answering():
        ledger.redis.zrem(ledger.key("bin"), run_id)


def _short(text: str, most: int, what: str) -> str:
    if len(text) > most:
        raise UserError(f"The {what} is too long", got=f"{len(text)} characters", expected=f"at most {most}")
    return text
