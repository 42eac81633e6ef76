"""A page to attack, in this process, with a canary outside of everything that its visitors may name."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from fastapi.testclient import TestClient
from pointsmith.ui.access import Access
from pointsmith.ui.accounts import Accounts, hashed
from pointsmith.ui.server import application
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore

from .running import HOST, Answer, Running
from .spellings import spellings
from .watch import Canary, offering

PASSWORD = "a long password"
CLOUD = b"".join(f"{x} {x % 5} {x % 3}\n".encode() for x in range(64))


@dataclass
class Target:
    """One page, whoever attacks it (logged in where that is asked for), and what must not be reached from it.

    `door` is `open` (visitors may name every file), `rooted` (files below `allowed` only) or `accounts` (likewise).
    """

    door: str
    client: TestClient
    running: Running
    store: RunStore
    canary: Canary
    folder: Path
    uploads: Path
    address: str
    asked: list[str]
    paths: dict[str, str] = field(default_factory=dict)

    @property
    def allowed(self) -> Path:
        return self.folder / "allowed"

    def enter(self) -> None:
        """Log in, where the page asks for that."""
        self.client.cookies.clear()
        if self.door == "accounts":
            answer = self.client.post("/login", data={"username": "ada", "password": PASSWORD})
            assert answer.status_code == 200, answer.text

    def problems(self, answer: Answer, sent: Any) -> list[str]:
        """Say what is wrong with an answer, whose request held `sent`: bytes or paths of the server in it."""
        request = repr(sent)
        request += re.sub(r"(/\.?)+/", "/", request)  # a path may come back as it is usually written
        # Visitors get back what they sent, and are told which folders they may name.
        rooms = [str(self.folder / room) for room in ("data", "cache", "foreign")]
        private = [*rooms, str(Path(__file__).parents[2]), sys.prefix, "/site-packages/", "Traceback"]
        found = [f"shows {path}" for path in private if path in answer.text and path not in request]
        if self.canary.secret in answer.text or "root:x:0:" in answer.text:
            found.append("holds foreign bytes")
        if self.canary.opened():
            found.append("a foreign file was opened")
        if self.asked:
            found.append(f"fetched {self.asked}")
            self.asked.clear()
        return found

    def foreign_copies(self) -> list[Path]:
        """Every file that the page keeps and that holds what it should not have read."""
        folders = [self.folder / "data", self.folder / "cache", self.uploads]
        marks = (self.canary.secret.encode(), b"root:x:0:", b"\0PATH=")
        return [
            path
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink() and any(mark in path.read_bytes() for mark in marks)
        ]


@contextmanager
def target(folder: Path, door: str) -> Iterator[Target]:
    """Serve a page through this door below `folder`, in this process, and attack it as a visitor who is inside."""
    data = folder / "data"
    for room in ("uploads", "exports", "runs"):
        (data / room).mkdir(parents=True)
    allowed = folder / "allowed"
    (allowed / "chair").mkdir(parents=True)
    (allowed / "chair" / "a.xyz").write_bytes(CLOUD)
    canary = Canary(folder / "foreign")
    access = {
        "open": Access(data / "uploads"),
        "rooted": Access(data / "uploads", roots=(allowed,)),
        "accounts": Access(data / "uploads", "accounts", Accounts({"ada": hashed(PASSWORD)}), (allowed,)),
    }[door]
    cache = {"GRADIO_TEMP_DIR": str(folder / "cache"), "TMPDIR": str(folder / "cache")}
    (folder / "cache").mkdir()
    with (
        mock.patch.dict(os.environ, cache),
        mock.patch.object(tempfile, "tempdir", str(folder / "cache")),
        offering(canary.file.read_bytes()) as (address, asked),
        EmbeddedRedis(data / "redis") as server,
    ):
        canary.opened()
        store = RunStore(server.address.url, data)
        app = application(store, data, access)
        with TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False) as client:
            if door == "accounts":
                entry = client.post("/login", data={"username": "ada", "password": PASSWORD})
                assert entry.status_code == 200, entry.text
            running = Running(client)
            uploads = Path(running.upload("own.xyz", CLOUD)).parents[1]
            link = uploads / "link"
            link.symlink_to(canary.file)
            (uploads / "link-folder").symlink_to(canary.file.parent)
            names = spellings(canary.file, uploads, link, address)
            made = Target(door, client, running, store, canary, folder, uploads, address, asked, names)
            yield made
        store.close()
    canary.close()
