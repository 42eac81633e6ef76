"""The one error type that a user is meant to read."""

from __future__ import annotations

import re

from .printable import brief, printable, shortened

_LONGEST = {"what": 600, "expected": 2000, "remedy": 600}
"""Characters of each part of a message: what is longer holds something of a visitor's that nobody wants to read."""

_STORED = re.compile(r"/[^'\"\n]*?/(?:uploads/[0-9a-f]{32}|pointsmith-(?:zip|read|api)-[A-Za-z0-9_]+)/")
"""Where a stranger's files are kept on the server, in a path of one of them: they know the rest of it by name."""


class UserError(Exception):
    """Something the user can mend: says what was wrong, which value, what was expected and what to do.

    The page shows it as is; the command line prints it and exits with 2. Values may come from anybody: they are cut,
    and what a terminal would obey in them is shown as an escape.
    """

    def __init__(self, what: str, *, got: object = None, expected: str | None = None, remedy: str | None = None):
        what = printable(shortened(what, _LONGEST["what"]), lines=True)
        parts = [what.rstrip(".") + (f": {brief(got)}" if got is not None else "") + "."]
        if expected:
            expected = printable(shortened(expected, _LONGEST["expected"]), lines=True)
            parts.append(f"Expected {expected.rstrip('.')}.")
        if remedy:
            remedy = printable(shortened(remedy, _LONGEST["remedy"]), lines=True)
            parts.append(remedy if remedy.endswith("?") else remedy.rstrip(".") + ".")
        super().__init__(_STORED.sub("", " ".join(parts)))
        self.what, self.got, self.expected, self.remedy = what, got, expected, remedy


class Diverged(UserError):
    """The loss or a gradient stopped being a finite number."""
