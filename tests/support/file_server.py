"""A real HTTP server for tests of downloading: ranges, ETags, broken connections, wrong bytes, the Hub's headers."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.processes import join

COMMIT = "29921d9f3f4eb70ef01ade99a9534af7022c3648"


@dataclass
class Served:
    """What the server does; tests change it between requests. `cuts` are bytes after which a connection breaks."""

    content: bytes
    etag: str = '"one"'
    status: int = 200
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    kind: str = "application/octet-stream"
    linked_sha256: str | None = None
    hold: threading.Event | None = None
    """Half of an answer waits for it."""
    waiting: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(method, path, Range) of each request."""
    url: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def gets(self) -> list[str | None]:
        """The ranges asked for of files; the Hub's client also asks `/api/…` of its own, once in a process."""
        return [asked for method, path, asked in self.requests if method == "GET" and not path.startswith("/api/")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        served, asked = self.served, self.headers.get("Range")
        served.requests.append((self.command, self.path, asked))
        if served.status != 200:
            self.send_response(served.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        condition = self.headers.get("If-Range")
        start, code, whole = 0, 200, len(served.content)
        if served.ranges and asked and condition in (None, served.etag):
            match = re.fullmatch(r"bytes=(\d+)-", asked)
            assert match
            start, code = int(match[1]), 206
        if start and start >= whole:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{whole}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(code)
        self.send_header("Content-Type", served.kind)
        self.send_header("Content-Length", str(whole - start))
        self.send_header("ETag", served.etag)
        if code == 206:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if served.linked_sha256:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{served.linked_sha256}"')
            self.send_header("X-Linked-Size", str(whole))
        self.end_headers()
        if body:
            self.send(served.content[start:])

    def send(self, content: bytes) -> None:
        served = self.served
        if served.hold is not None:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            served.waiting.set()
            served.hold.wait(20)
            content = content[len(content) // 2 :]
        cut = served.cuts.pop(0) if served.cuts else None
        self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


@contextmanager
def serving(content: bytes) -> Iterator[Served]:
    """Serve `content` at every path below `.url` while the block runs."""
    served = Served(content)
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"served": served}))
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        join([thread])
