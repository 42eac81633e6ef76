"""The room for uploaded data sets: how much of it is taken, what lies there, and which of it may go."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UserError

if TYPE_CHECKING:
    from .run import Run
    from .store import RunStore

_OWNERS = "owners"
VARIABLE = "POINTSMITH_UPLOADS_GB"
"""The environment variable that says how many GB uploads may take in all."""
USUAL = 50.0


@dataclass(frozen=True)
class Upload:
    """One uploaded data set: its folder's random name, what it holds (a few names), its bytes, and when it came.

    `owner` is what was said with `belongs`, '' where nothing was.
    """

    name: str
    holds: tuple[str, ...]
    bytes: int
    since: float
    owner: str = ""


class UploadRoom:
    """`<data>/uploads`, with a limit for all of it together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> list[Upload]:
        """The uploads, the oldest first."""
        found = (_upload(path, self._owner(path.name)) for path in self._folders())
        return sorted(found, key=lambda one: (one.since, one.name))

    def belongs(self, name: str, owner: str) -> None:
        """Note whose upload this is. The note lies beside the uploads, not among a data set's files."""
        if owner:
            (self.folder / _OWNERS).mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.folder / _OWNERS / name).write_text(owner, encoding="utf-8")

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
        (self.folder / _OWNERS / name).unlink(missing_ok=True)

    def _owner(self, name: str) -> str:
        try:
            return (self.folder / _OWNERS / name).read_text(encoding="utf-8")
        except OSError:
            return ""

    def _folders(self) -> list[Path]:
        return [path for path in self.folder.glob("*") if re.fullmatch(r"[0-9a-f]{32}", path.name) and path.is_dir()]


def users(store: RunStore, names: Iterable[str]) -> dict[str, list[Run]]:
    """The runs, anybody's, whose configuration names each of these uploads."""
    found: dict[str, list[Run]] = {name: [] for name in names}
    at = 0
    while found and (some := store.list(500, at)):
        at += len(some)
        for run in some:
            text = str(run.config)
            for name in found:
                if name in text:
                    found[name].append(run)
    return found


def require_idle(name: str, runs: Sequence[Run]) -> None:
    """Refuse to part with an upload of which one of its runs has yet to end. UserError."""
    busy = [run for run in runs if run.state in ("queued", "running")]
    if busy:
        raise UserError("A run still needs this upload", got=name, remedy=f"Cancel {busy[0].id} first")


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


def _upload(path: Path, owner: str) -> Upload:
    names = sorted(entry.name for entry in path.iterdir())
    return Upload(path.name, tuple(names[:3]), _bytes(path), path.stat().st_mtime, owner)


def _bytes(path: Path) -> int:
    total = 0
    for where, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:  # deleted meanwhile
                continue
    return total
