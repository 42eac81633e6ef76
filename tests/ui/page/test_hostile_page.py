"""The real page under hostile uploads, over HTTP: it answers meanwhile, its memory stays, and the user is told why."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest
from pointsmith.core.training import train

from tests.support.app_process import free_port
from tests.support.hostile_files import FILES, SOUND, hostile_h5
from tests.support.paths import ROOT
from tests.support.processes import Child, join
from tests.support.tiny import tiny_run

MB = 1 << 20
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is looked up in /proc")


@dataclass
class Served:
    """A page in a process of its own."""

    url: str
    process: psutil.Process
    adapter: Path
    client: httpx2.Client
    calls: int = 0
    functions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def call(self, name: str, data: list[Any]) -> str:
        """Run a function of the page through its queue, as the page's script does; return what the stream tells."""
        self.calls += 1
        session = f"hostile{self.calls}"
        body = {"data": data, "fn_index": self.functions[name]["id"], "session_hash": session, "event_data": None}
        self.client.post("/gradio_api/queue/join", json=body).raise_for_status()
        return self.client.get(f"/gradio_api/queue/data?session_hash={session}").text

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Send a file as the page's script does; return what stands for it in later calls."""
        answer = self.client.post("/gradio_api/upload", files={"files": (name, content)})
        answer.raise_for_status()
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("hostile")
    list(train(tiny_run(epochs=1), root / "run", device="cpu"))
    port = free_port()
    hidden = ("POINTSMITH_", "REDIS_URL", "SYSTEM")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--data", str(root / "data"), "--no-worker"]
    with (root / "log").open("w") as log:
        process = Child(command, env=environment, stdout=log, stderr=log)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=90) as client:
            begun = time.monotonic()
            while True:
                try:
                    config = client.get("/config").json()
                    break
                except httpx2.HTTPError:
                    assert process.poll() is None and time.monotonic() - begun < 60, (root / "log").read_text()
                    time.sleep(0.2)
            served = Served(str(client.base_url), psutil.Process(process.pid), root / "run" / "adapter", client)
            for one in config["dependencies"]:
                served.functions.setdefault(str(one["api_name"]), one)
            served.call("uploaded", [None, str(served.adapter), served.upload("first.xyz", SOUND["a/0.xyz"]), None])
            yield served
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


class Looking:
    """Asks the page for something, again and again, and looks at its memory, while the block runs."""

    def __init__(self, page: Served) -> None:
        self.page, self.slowest, self.most = page, 0.0, 0
        # A second, or what a machine takes that has more to do than it can.
        self.allowed = max(1.0, 4 * max(self._answer(page.client) for _ in range(15)))
        self.before = page.process.memory_info().rss
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask), threading.Thread(target=self._weigh)]

    @staticmethod
    def _answer(client: httpx2.Client) -> float:
        begun = time.monotonic()
        client.get("/config").raise_for_status()
        return time.monotonic() - begun

    def _ask(self) -> None:
        with httpx2.Client(base_url=self.page.url, timeout=30) as client:
            while not self._over.is_set():
                self.slowest = max(self.slowest, self._answer(client))
                self._over.wait(0.05)

    def _weigh(self) -> None:
        while not self._over.wait(0.01):
            self.most = max(self.most, self.page.process.memory_info().rss)

    def __enter__(self) -> Looking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        join(self._threads)


def bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in SOUND.items():
            archive.writestr(name, content)
        with archive.open("a/bomb.xyz", "w", force_zip64=True) as member:
            for _ in range(400):
                member.write(b"\0" * MB)
    return stream.getvalue()


def traversal() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in {"../../../evil.xyz": b"0 0 0\n", **SOUND}.items():
            archive.writestr(name, content)
    return stream.getvalue()


def checked(page: Served, name: str, content: bytes) -> str:
    return page.call("run", ["upload", "", "", [page.upload(name, content)]])


def predicted(page: Served, name: str, content: bytes) -> str:
    return page.call("uploaded", [None, str(page.adapter), page.upload(name, content), None])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bomb.zip", "unpacks to"),
        ("traversal.zip", "outside the archive"),
        ("link.h5", "link.h5"),
        ("object.npy", "object.npy"),
        ("count.glb", "count.glb"),
        ("bomb.npz", "bomb.npz"),
        ("nan.npy", "NaN"),
    ],
)
def test_the_page_stays_alive_and_says_why(page: Served, tmp_path: Path, name: str, reason: str) -> None:
    mark = tmp_path / "ran"
    if name == "link.h5":
        content = hostile_h5(tmp_path / name, "link").read_bytes()
    else:
        content = {"bomb.zip": bomb, "traversal.zip": traversal}.get(name, lambda: FILES[name](mark))()
    with Looking(page) as looked:
        told = (checked if name.endswith((".zip", ".h5")) else predicted)(page, name, content)
    last = json.loads([line for line in told.splitlines() if "process_completed" in line][-1].removeprefix("data: "))
    said = re.sub(r"\s+", " ", json.dumps(last["output"], ensure_ascii=False))
    assert last["success"] and reason in said and "Traceback" not in told
    assert looked.slowest < looked.allowed, f"the page did not answer for {looked.slowest:.1f} s"
    # What it holds of an upload is that file; what it became in the children is not here.
    assert looked.most - looked.before < 64 * MB + 2 * len(content)
    assert not mark.exists() and not list(tmp_path.parent.rglob("evil.xyz"))


def test_a_sound_file_after_all_of_them(page: Served) -> None:
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).normal(size=(200, 3)).astype("f4"))
    told = predicted(page, "sound.npy", stream.getvalue())
    assert "sound.npy" in told and "ps-classes" in told
