"""The room for uploaded data sets: how much of it is taken, what lies there, and which of it may go."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError

VARIABLE = "POINTSMITH_UPLOADS_GB"
"""The environment variable that says how many GB uploads may take in all."""
USUAL = 50.0


@dataclass(frozen=True)
class Upload:
    """One uploaded data set: its folder's random name, what it holds (a few names), its bytes, and when it came."""

    name: str
    holds: tuple[str, ...]
    bytes: int
    since: float


class UploadRoom:
    """`<data>/uploads`, with a limit for all of it together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> list[Upload]:
        """The uploads, the oldest first."""
        return sorted((_upload(path) for path in self._folders()), key=lambda one: (one.since, one.name))

    def require(self, more: int) -> None:
        """Refuse an upload of so many bytes where there is no room for it. UserError."""
        limit, taken = limit_bytes(), sum(_bytes(path) for path in self._folders())
        if taken + more > limit:
            raise UserError(
                f"There is no room for this upload of {more / 1e9:.2f} GB",
                got=f"{taken / 1e9:.2f} GB of uploads",
                expected=f"at most {limit / 1e9:g} GB of them in all",
                remedy=f"Whoever runs this server can delete some with `pointsmith uploads`, or raise {VARIABLE}",
            )

    def delete(self, name: str) -> None:
        """Remove one. UserError for a name that is none."""
        if re.fullmatch(r"[0-9a-f]{32}", name) is None or not (self.folder / name).is_dir():
            raise UserError("There is no such upload", got=name, remedy="Look it up with `pointsmith uploads`")
        shutil.rmtree(self.folder / name)

    def _folders(self) -> list[Path]:
        return [path for path in self.folder.glob("*") if re.fullmatch(r"[0-9a-f]{32}", path.name) and path.is_dir()]


def limit_bytes() -> int:
    """Return how much uploads may take. UserError where POINTSMITH_UPLOADS_GB is no number."""
    text = os.environ.get(VARIABLE, "").strip()
    try:
        limit = float(text) if text else USUAL
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise UserError(f"{VARIABLE} is no number of gigabytes", got=text, expected="0 or more")
    return int(limit * 1e9)


def _upload(path: Path) -> Upload:
    names = sorted(entry.name for entry in path.iterdir())
    return Upload(path.name, tuple(names[:3]), _bytes(path), path.stat().st_mtime)


def _bytes(path: Path) -> int:
    total = 0
    for where, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:  # deleted meanwhile
                continue
    return total
