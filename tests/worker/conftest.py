"""A data folder of its own for every test, without the user's environment, and proof that no process outlives it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore
from pointsmith.worker.timing import Timing

FAST = Timing(lease=2.0, renew=0.4, reap=0.2, resend=0.5)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "REDIS_URL",
        "REDIS_SERVER_BIN",
        "POINTSMITH_DATA",
        "POINTSMITH_ALLOW_OPEN_REDIS",
        "POINTSMITH_ARTEFACTS",
    ):
        monkeypatch.delenv(name, raising=False)


def processes_on(folder: Path) -> list[psutil.Process]:
    """Everything alive that names the folder on its command line: Redis, workers, trainers."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        named = any(str(folder) in part for part in process.info["cmdline"] or ())
        if named and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def until(condition: Callable[[], bool], limit: float, what: str) -> float:
    """Wait for the condition; returns how long that took, and fails after `limit` seconds."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > limit:
            pytest.fail(f"waited {limit} s in vain: {what}")
        time.sleep(0.01)
    return time.monotonic() - begun


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder; after the test nothing that was started on it may be alive."""
    folder = tmp_path / "data"
    folder.mkdir()
    yield folder
    left = processes_on(folder)
    for process in left:
        process.kill()
    assert not left


@pytest.fixture
def store(data: Path) -> Iterator[RunStore]:
    """A run store on a real Redis of its own."""
    with EmbeddedRedis(data / "redis") as server:
        found = RunStore(server.address.url, data, timing=FAST)
        yield found
        found.close()
