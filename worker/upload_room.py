"""The room for uploaded data sets: how much of it is taken, what lies there, and which of it may go."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UserError
from . import quotas

if TYPE_CHECKING:
    from .run import Run
    from .store import RunStore

_OWNERS = "owners"
_ARRIVING = "arriving"
_LEFT_FREE = 1_000_000_000
"""Bytes of the disk that uploads leave free: runs must go on writing."""
VARIABLE = "POINTSMITH_UPLOADS_GB"
"""The environment variable that says how many GB uploads may take in all."""
USUAL = 50.0


@dataclass(frozen=True)
class Upload:
    """One uploaded data set: its folder's random name, what it holds (a few names), its bytes, and when it came.

    `owner` and `user` are what was noted with `belongs`, '' where nothing was: a folder's name, and the account.
    """

    name: str
    holds: tuple[str, ...]
    bytes: int
    since: float
    owner: str = ""
    user: str = ""


class UploadRoom:
    """`<data>/uploads`, with a limit for all of it together, and one for each owner that has a name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> list[Upload]:
        """The uploads, the oldest first."""
        found = (_upload(path, *self._owner(path.name)) for path in self._folders())
        return sorted(found, key=lambda one: (one.since, one.name))

    def belongs(self, name: str, owner: str, user: str = "") -> None:
        """Note whose upload this is. The note lies beside the uploads, not among a data set's files."""
        if owner:
            (self.folder / _OWNERS).mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.folder / _OWNERS / name).write_text(f"{owner}\n{user}".strip(), encoding="utf-8")

    @contextlib.contextmanager
    def admit(self, more: int, owner: str, user: str = "") -> Iterator[Path]:
        """Reserve room for an upload of so many bytes, and yield its folder, which is not made yet.

        Uploads that are admitted at once count against each other. Whatever is raised inside, nothing of the upload is
        left. UserError where there is no room (see `require`).
        """
        name = uuid.uuid4().hex
        for folder in (self.folder, self.folder / _ARRIVING):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        note = self.folder / _ARRIVING / name
        with contextlib.ExitStack() as stack:
            with (self.folder / _ARRIVING / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._remove_abandoned(set(self._arriving()))
                self.require(more, owner)
                reserved = stack.enter_context(note.open("w"))  # its lock says that this process is still at it
                stack.callback(note.unlink, missing_ok=True)
                fcntl.flock(reserved, fcntl.LOCK_SH)
                reserved.write(str(more))
                reserved.flush()
                self.belongs(name, owner, user)
            try:
                yield self.folder / name
            except BaseException:
                shutil.rmtree(self.folder / name, ignore_errors=True)
                (self.folder / _OWNERS / name).unlink(missing_ok=True)
                raise

    def taken(self, owner: str | None = None) -> int:
        """Return the bytes that uploads of one owner, or of all, take, with those that are being moved here."""
        arriving = self._arriving()
        names = {path.name for path in self._folders()} | set(arriving)
        if owner is not None:
            names = {name for name in names if self._owner(name)[0] == owner}
        return sum(max(_bytes(self.folder / name), arriving.get(name, 0)) for name in names)

    def require(self, more: int, owner: str = "", *, cached: int = 0, own_cached: int = 0) -> None:
        """Refuse an upload of so many bytes where there is no room for it. UserError.

        `cached` bytes of anybody, `own_cached` of them of this owner, wait elsewhere to become uploads, and count.
        """
        limit, taken = limit_bytes(), self.taken() + cached
        if owner:
            allowed, used = quotas.upload_bytes_per_user(limit), self.taken(owner) + own_cached
            if used + more > allowed:
                raise quotas.QuotaExceeded(
                    f"You have no room for this upload of {more / 1e9:.2f} GB",
                    got=f"{used / 1e9:.2f} GB of uploads",
                    expected=f"at most {allowed / 1e9:g} GB of your own",
                    remedy="Delete some on the Data tab, or ask whoever runs this server for more",
                )
        if taken + more > limit:
            raise UserError(
                f"There is no room for this upload of {more / 1e9:.2f} GB",
                got=f"{taken / 1e9:.2f} GB of uploads",
                expected=f"at most {limit / 1e9:g} GB of them in all",
                remedy=f"Whoever runs this server can delete some with `pointsmith uploads`, or raise {VARIABLE}",
            )

    @staticmethod
    def require_disk(folder: Path, more: int) -> None:
        """Refuse so many bytes more where the folder's disk has no room for them. UserError."""
        free = shutil.disk_usage(folder).free - _LEFT_FREE
        if more > free:
            raise UserError(
                f"The disk of this server has no room for this upload of {more / 1e9:.2f} GB",
                got=f"{max(0, free) / 1e9:.2f} GB",
                remedy="Whoever runs this server must make room first",
            )

    def _arriving(self) -> dict[str, int]:
        """Return the bytes reserved for each upload that a living process is moving here."""
        reserved: dict[str, int] = {}
        for note in (self.folder / _ARRIVING).glob("*"):
            if re.fullmatch(r"[0-9a-f]{32}", note.name) is None:
                continue
            with contextlib.suppress(FileNotFoundError), note.open("r") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    reserved[note.name] = int(file.read() or 0)
        return reserved

    def _remove_abandoned(self, alive: set[str]) -> None:
        """Remove the reservations of processes that are gone. Only for whoever holds the lock for reservations."""
        for note in (self.folder / _ARRIVING).glob("*"):
            if note.name not in alive and note.name != ".lock":
                note.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Remove one. UserError for a name that is none."""
        if re.fullmatch(r"[0-9a-f]{32}", name) is None or not (self.folder / name).is_dir():
            raise UserError("There is no such upload", got=name, remedy="Look it up with `pointsmith uploads`")
        shutil.rmtree(self.folder / name)
        (self.folder / _OWNERS / name).unlink(missing_ok=True)

    def _owner(self, name: str) -> tuple[str, str]:
        try:
            owner, _, user = (self.folder / _OWNERS / name).read_text(encoding="utf-8").partition("\n")
        except OSError:
            return "", ""
        return owner, user

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


def _upload(path: Path, owner: str, user: str) -> Upload:
    names = sorted(entry.name for entry in path.iterdir())
    return Upload(path.name, tuple(names[:3]), _bytes(path), path.stat().st_mtime, owner, user)


def _bytes(path: Path) -> int:
    total = 0
    for where, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:  # deleted meanwhile
                continue
    return total
