"""The one error type that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: says what was wrong, which value, what was expected and what to do.

    The page shows it as is; the command line prints it and exits with 2.
    """

    def __init__(self, what: str, *, got: object = None, expected: str | None = None, remedy: str | None = None):
        parts = [what.rstrip(".") + (f": {got!r}" if got is not None else "") + "."]
        if expected:
            parts.append(f"Expected {expected.rstrip('.')}.")
        if remedy:
            parts.append(remedy if remedy.endswith("?") else remedy.rstrip(".") + ".")
        super().__init__(" ".join(parts))
        self.what, self.got, self.expected, self.remedy = what, got, expected, remedy


class Diverged(UserError):
    """The loss or a gradient stopped being a finite number."""
