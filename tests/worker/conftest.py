"""A data folder of its own for every test, without the user's environment, and proof that no process outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore

from tests.support.waiting import FAST, processes_on


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
