"""How much each user of a page with logins may take: queued runs, bytes of uploads, registered data sets.

An owner without a name (the command line, a page without logins) has no quota. The operator sets quotas by environment
variables; 0 is no limit.
"""

from __future__ import annotations

import math
import os

from ..core.errors import UserError

RUNS = "POINTSMITH_RUNS_PER_USER"
"""The environment variable for queued and running runs of one user; the default lets one sweep of 256 runs through."""
UPLOADS = "POINTSMITH_UPLOADS_PER_USER_GB"
"""The environment variable for GB of uploads of one user; without it, a quarter of the room for all."""
DATA_SETS = "POINTSMITH_DATASETS_PER_USER"
"""The environment variable for data sets that one user may have registered."""
ADAPTERS = "POINTSMITH_ADAPTERS_PER_USER"
"""The environment variable for adapters of the Hub that one user may have pulled."""
SHARE = 0.25
"""The part of the room for all uploads that one user may take."""


class QuotaExceeded(UserError):
    """A user asked for more than their quota."""


def runs_per_user() -> int:
    """Return how many queued and running runs a user may have; 0 is no limit. UserError for a wrong variable."""
    return int(_number(RUNS, 300))


def data_sets_per_user() -> int:
    """Return how many data sets a user may have registered; 0 is no limit. UserError for a wrong variable."""
    return int(_number(DATA_SETS, 200))


def adapters_per_user() -> int:
    """Return how many adapters of the Hub a user may have pulled; 0 is no limit. UserError for a wrong variable."""
    return int(_number(ADAPTERS, 100))


def upload_bytes_per_user(total: int) -> int:
    """Return how many bytes of uploads a user may have where all may have `total`. UserError for a wrong variable."""
    share = _number(UPLOADS, total * SHARE / 1e9)
    return total if share == 0 else min(total, round(share * 1e9))


def too_many_runs(active: int, more: int, limit: int) -> QuotaExceeded:
    """Return the error for a user who has `active` queued and running runs and wants `more`."""
    return QuotaExceeded(
        "You have too many runs in the queue for this" if active else "These are more runs than you may queue",
        got=f"{active} queued or running, {more} more",
        expected=f"at most {limit} at a time",
        remedy="Wait for some to end, cancel some, or ask whoever runs this server for more",
    )


def require_count(count: int, limit: int, what: str) -> None:
    """Refuse one more of `what` to a user who has `count` of at most `limit` (0: any number). Raises QuotaExceeded."""
    if limit and count >= limit:
        raise QuotaExceeded(
            f"You have no room for more {what}",
            got=f"{count} {what}",
            expected=f"at most {limit}",
            remedy="Remove some first, or ask whoever runs this server for more",
        )


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{variable} is not a valid limit", got=text[:40], expected="a number, 0 or more")
    return value
