"""A disk that fills up while a checkpoint is written: the one before stays good, and the run goes on from it."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from pointsmith.core import durable
from pointsmith.core.training import train
from safetensors.torch import load_file

from tests.support.tiny import tiny_run


def story(events: list[Any]) -> list[tuple[Any, ...]]:
    steps = [(e.step, e.epoch, e.loss, e.grad_norm) for e in events if e.kind == "step"]
    return steps + [(e.split, e.loss) for e in events if e.kind == "scores"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, list(train(tiny_run(), folder, device="cpu"))


def until_it_fails(folder: Path) -> list[Any]:
    told: list[Any] = []
    with pytest.raises(OSError) as failed:
        for event in train(tiny_run(), folder, device="cpu"):
            told.append(event)
    assert failed.value.errno in (errno.ENOSPC, errno.EFBIG)
    return told


def goes_on(folder: Path, told: list[Any], whole: tuple[Path, list[Any]]) -> None:
    """Without a draft left, the run resumes and ends in the very numbers of an undisturbed one."""
    assert not [path.name for path in (folder / "checkpoint").iterdir() if path.name.startswith(".")]
    last = max((event.step for event in told if event.kind == "checkpoint"), default=0)
    rest = list(train(tiny_run(), folder, device="cpu"))
    assert any(f"Resumed after step {last} " in event.message for event in rest if event.kind == "note") == bool(last)
    kept = [event for event in told if event.kind == "step" and event.step <= last]
    assert story(kept) + story(rest) == story(whole[1])
    ours, theirs = (load_file(one / "adapter" / "adapter_model.safetensors") for one in (folder, whole[0]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("at", range(1, 9))
def test_no_space_at_any_write(
    whole: tuple[Path, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Each checkpoint is three files, and one more in a best epoch; half of the file is on the disk by then."""
    written = 0

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written == 2 * at - 1:  # every file is followed by its folder
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            raise OSError(errno.ENOSPC, "No space left on device")
        os.fsync(descriptor)

    monkeypatch.setattr(durable, "os", _Os(full))
    told = until_it_fails(tmp_path)
    monkeypatch.undo()
    goes_on(tmp_path, told, whole)


class _Os:
    """The module os, with another fsync."""

    def __init__(self, fsync: Any) -> None:
        self.fsync = fsync

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def test_a_real_limit_in_the_middle_of_a_file(whole: tuple[Path, list[Any]], tmp_path: Path) -> None:
    """The kernel itself stops the write: no file of this process may grow beyond half of the model's."""
    told: list[Any] = []
    running = train(tiny_run(), tmp_path, device="cpu")
    for event in running:
        told.append(event)
        if event.kind == "checkpoint":
            break
    model = max((tmp_path / "checkpoint").glob("model-*.safetensors"), key=lambda path: path.stat().st_size)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (model.stat().st_size // 2, hard))
    try:
        with pytest.raises(OSError) as failed:
            for event in running:
                told.append(event)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failed.value.errno == errno.EFBIG
    assert sum(event.kind == "checkpoint" for event in told) == 1
    goes_on(tmp_path, told, whole)
