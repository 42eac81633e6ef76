"""Reading a data set tells how far it is, can be stopped, and raises what the reader raises."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from pointsmith.core.data.config import DemoData, FolderData
from pointsmith.core.data.load import load
from pointsmith.core.errors import UserError
from pointsmith.core.training.loading import load_data


def folder(path: Path, count: int = 40) -> FolderData:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (path / name).mkdir(parents=True)
        for i in range(count):
            np.savetxt(path / name / f"{i}.txt", rng.normal(size=(3000, 3)), fmt="%.6f")
    return FolderData.model_validate({"path": path, "preparation": {"points": 64}})


def ended(config: FolderData, stop=lambda: False):
    events, reading = [], load_data(config, 8, stop)
    try:
        while True:
            events.append(next(reading))
    except StopIteration as end:
        return events, end.value


def test_the_data_are_those_of_a_plain_read(tmp_path: Path) -> None:
    config = folder(tmp_path / "set")
    _, found = ended(config)
    assert found is not None and found.fingerprint == load(config).fingerprint


def test_a_slow_read_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsmith.core.training.loading._EVERY", 0.01)
    events, _ = ended(folder(tmp_path / "set"))
    assert events and all(event.stage == "data" and 0 <= event.done <= event.total for event in events)
    assert [event.done for event in events] == sorted(event.done for event in events)


def test_a_read_can_be_stopped(tmp_path: Path) -> None:
    assert ended(folder(tmp_path / "set"), stop=lambda: True)[1] is None


def test_what_is_wrong_is_said_as_by_the_reader(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        ended(FolderData(path=tmp_path / "nowhere"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds address space")
def test_data_that_do_not_fit_end_the_run_and_not_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = DemoData.model_validate({"preparation": {"points": 65536}})  # half a gigabyte
    monkeypatch.setattr("pointsmith.core.training.loading.SHARE", 0.005)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(UserError, match="memory"):
        ended(huge)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
