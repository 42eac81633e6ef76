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


PATIENCE = 120.0
"""So many seconds is waited for what takes one or two: a busy machine is no failure."""


def until(condition: Callable[[], bool], what: str) -> float:
    """Wait for the condition; returns how long that took, in seconds, and fails after `PATIENCE`."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > PATIENCE:
            pytest.fail(f"waited {PATIENCE:.0f} s in vain: {what}")
        time.sleep(0.01)
    return time.monotonic() - begun


def keeps(promise: float, once: Callable[[], float], tries: int = 3) -> None:
    """Assert that what `once` does and times takes at most `promise` seconds; a busy machine may disturb some tries."""
    took: list[float] = []
    while not took or (took[-1] > promise and len(took) < tries):
        took.append(once())
    assert took[-1] <= promise, f"promised {promise} s, took {', '.join(f'{one:.2f}' for one in took)}"


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
