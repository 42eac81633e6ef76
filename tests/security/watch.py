"""See whether anybody opens a file that nobody should: by the kernel's own notice, and by what is copied."""

from __future__ import annotations

import ctypes
import os
import secrets
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_OPENED_OR_READ = 0x20 | 0x1  # IN_OPEN | IN_ACCESS of <sys/inotify.h>


class Canary:
    """A folder with a file of random content in valid formats, watched by inotify in every process of the machine.

    `opened` says whether the file or its folder was opened, listed or read since the last time that was asked.
    Looking a path up (`stat`, `realpath`) does not count.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.secret = secrets.token_hex(16)
        self.file = folder / f"canary-{secrets.token_hex(4)}.xyz"
        # A cloud that every reader of text takes: where it is read, it can be seen.
        self.file.write_text(f"# {self.secret}\n" + "".join(f"{x} {x % 7} {x % 3}\n" for x in range(64)))
        self._inotify = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._inotify = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._inotify < 0:
                raise OSError(ctypes.get_errno(), "inotify_init1")
            self.add(folder)

    def add(self, folder: Path) -> None:
        """Watch one more folder and the files right in it."""
        if self._inotify >= 0 and self._libc.inotify_add_watch(self._inotify, os.fsencode(folder), _OPENED_OR_READ) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def opened(self) -> bool:
        if self._inotify < 0:
            return False
        try:
            return bool(os.read(self._inotify, 65536))
        except BlockingIOError:
            return False

    def copies(self, folders: Iterable[Path]) -> list[Path]:
        """Return every file below the folders that holds the canary's random content."""
        wanted = self.secret.encode()
        return [
            path
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink() and wanted in path.read_bytes()
        ]

    def close(self) -> None:
        if self._inotify >= 0:
            os.close(self._inotify)


@contextmanager
def offering(content: bytes) -> Iterator[tuple[str, list[str]]]:
    """Offer content at every path of a web server on the loopback; yield its address and the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join(60)
