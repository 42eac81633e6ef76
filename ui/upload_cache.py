"""Where the web framework puts uploads before the page takes them over: a private folder, with limits, and swept.

What a browser sends lies in this cache until an event of the page moves it to the uploads. It counts as uploads of its
user from the moment when the request arrives, and is removed after an hour.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.errors import UserError
from ..worker.upload_room import UploadRoom

if TYPE_CHECKING:
    from .access import Access

CACHE = "GRADIO_TEMP_DIR"
"""The environment variable by which Gradio is told where its cache lies."""
AGE = 3600.0
"""Seconds after which an upload that no event took over is removed."""
SMALL = 256_000_000
"""Bytes that a user may have in the cache however full the room for uploads is: files to predict, settings to read."""
_PREFIX = "pointsmith-cache-"
_LOCK = ".lock"


@contextlib.contextmanager
def private_cache() -> Iterator[Path]:
    """Give Gradio a cache of mode 0700 for this process alone, and remove it at the end.

    It is made below GRADIO_TEMP_DIR, or else in the folder for temporary files. What pages that were killed left there
    is removed first: a page that lives holds a lock on its own.
    """
    before = os.environ.get(CACHE)
    parent = Path(before or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.environ[CACHE] = str(folder)
            yield folder
    finally:
        if before is None:
            os.environ.pop(CACHE, None)
        else:
            os.environ[CACHE] = before
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # it is in use, is being made, or somebody else removed it
            continue


@dataclass(frozen=True)
class _Cached:
    owner: str
    bytes: int
    since: float


class UploadGate:
    """ASGI middleware that admits an upload before its bytes arrive, or refuses it with status 411 or 413.

    What a user's requests hold in the cache, or are sending now, counts together with their uploads, except for a
    little that is always admitted (`SMALL`). With logins of Hugging Face, only the limit of all counts here. Uploads
    that were cached for longer than `AGE` by `clock`, and what broken-off requests left, are removed with each new
    request.
    """

    def __init__(
        self, app: ASGIApp, access: Access, cache: Path, uploads: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self.app, self.access, self.cache, self.room, self.clock = app, access, cache, UploadRoom(uploads), clock
        self._cached: dict[Path, _Cached] = {}
        self._arriving: dict[object, _Cached] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].rstrip("/").endswith("/upload"):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        visitor = self.access.visitor(request) if self.access.door == "accounts" else ""
        if visitor is None:  # refused further in
            await self.app(scope, receive, send)
            return
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or len(length) > 18:
            await PlainTextResponse("An upload must tell its size in Content-Length.\n", 411)(scope, receive, send)
            return
        self.sweep()
        owner = self.access.room_of(visitor) if visitor else ""
        try:
            self._require(owner, int(length))
        except UserError as error:
            await PlainTextResponse(f"{error}\n", 413)(scope, receive, send)
            return
        ticket = object()
        self._arriving[ticket] = _Cached(owner, int(length), self.clock())
        body = bytearray()
        status = 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and status == 200:
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    self._note(bytes(body), owner)
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            del self._arriving[ticket]

    def _require(self, owner: str, more: int) -> None:
        pending = [*self._cached.values(), *self._arriving.values()]
        own = sum(one.bytes for one in pending if one.owner == owner)
        if own + more > SMALL:
            self.room.require(more, owner, cached=sum(one.bytes for one in pending), own_cached=own)
        arriving = sum(one.bytes for one in self._arriving.values())
        self.cache.mkdir(parents=True, exist_ok=True)
        UploadRoom.require_disk(self.cache, arriving + more)

    def _note(self, body: bytes, owner: str) -> None:
        """Remember whose the files are that Gradio's answer names."""
        for name in json.loads(body):
            path = Path(name)
            with contextlib.suppress(FileNotFoundError):  # an event may have taken it over already
                self._cached[path] = _Cached(owner, path.stat().st_size, self.clock())

    def sweep(self) -> None:
        """Remove what lies in the cache for too long, and forget what was taken over."""
        now = self.clock()
        for path, file in list(self._cached.items()):
            if now - file.since > AGE:
                path.unlink(missing_ok=True)
            if not path.exists():
                del self._cached[path]
        if self.cache.name.startswith(_PREFIX):
            # Files right in the cache are requests that arrive now, or that broke off.
            for path in self.cache.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.name != _LOCK and path.is_file() and now - path.stat().st_mtime > AGE:
                        path.unlink()
