"""A name that a user typed is checked against what exists, and the nearest is offered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ...core.errors import UserError


def known(name: str, names: Iterable[str], what: str) -> str:
    """Return `name` when it is one of `names`; else raise the error of `unknown`."""
    names = list(names)
    if name not in names:
        raise unknown(name, names, what)
    return name


def unknown(name: str, names: Iterable[str], what: str) -> UserError:
    """Return the error that lists what exists and says which is nearest."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return UserError(
        f"Unknown {what}",
        got=name,
        expected=f"one of {', '.join(names)}" if names else f"nothing, since there is no {what} here",
        remedy=f"Did you mean {near[0]}?" if near else None,
    )
