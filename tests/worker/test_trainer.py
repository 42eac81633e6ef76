"""The trainer process by itself: exit codes, signals, and what it leaves in the folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsmith.worker.run import read_json, write_json
from pointsmith.worker.trainer import take_folder

from tests.support.paths import COUNTING_TRAINER
from tests.support.processes import PATIENCE, Child
from tests.support.waiting import until

COUNTING = [sys.executable, str(COUNTING_TRAINER)]
REAL = [sys.executable, "-m", "pointsmith.worker.trainer"]

Start = Callable[..., "Child"]


@pytest.fixture
def start(data: Path):
    """Start a trainer on `data` with this configuration; ended after the test at the latest."""
    started: list[Child] = []

    def begin(config: dict[str, Any], command: list[str] = COUNTING, token: int = 1) -> Child:
        write_json(data / "run.json", {"config": config})
        with (data / "log.txt").open("ab") as log:
            process = Child([*command, str(data), str(token), "cpu"], stdin=-1, stdout=log, stderr=log)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait(PATIENCE)
        if process.stdin and not process.stdin.closed:
            process.stdin.close()


def _steps(folder: Path) -> list[int]:
    path = folder / "done.txt"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def test_success(data: Path, start: Start) -> None:
    assert start({"steps": 3, "seconds": 0}).wait(20) == 0
    result = read_json(data / "result.json")
    assert result is not None and result["kind"] == "finished"
    events = [json.loads(line)["kind"] for line in (data / "events-1.jsonl").read_text().splitlines()]
    assert events == ["stage", "plan", *["step", "checkpoint"] * 3, "epoch", "finished"]


@pytest.mark.parametrize(
    ("die", "code", "kind", "words"),
    [
        ("user", 2, "data", "The folder has no clouds: 'nowhere'."),
        ("bug", 1, "bug", "ValueError: seven is not eight"),
        ("memory", 1, "memory", "MemoryError: no more"),
    ],
)
def test_failures_are_explained(data: Path, start: Start, die: str, code: int, kind: str, words: str) -> None:
    assert start({"steps": 3, "seconds": 0, "die": die}).wait(20) == code
    error = read_json(data / "error.json")
    assert error is not None
    assert (error["kind"], error["message"]) == (kind, words)
    assert any("Traceback" in line for line in error["log"]) == (code == 1)
    assert not (data / "result.json").exists()


def test_sigterm_and_resume_make_one_gapless_count(data: Path, start: Start) -> None:
    process = start({"steps": 12, "seconds": 0.05, "every": 100})
    until(lambda: len(_steps(data)) >= 3, "three steps")
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 64
    assert start({"steps": 12, "seconds": 0}, token=2).wait(20) == 0
    assert _steps(data) == list(range(1, 13))


def test_ends_when_its_supervisor_is_gone(data: Path, start: Start) -> None:
    process = start({"steps": 1000, "seconds": 0.05, "every": 100})
    until(lambda: len(_steps(data)) >= 1, "a step")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(5) == 64
    assert read_json(data / "checkpoint.json") == {"step": _steps(data)[-1]}


def test_two_trainers_never_share_a_folder(data: Path, start: Start) -> None:
    lock = take_folder(data)
    assert lock is not None
    process = start({"steps": 1, "seconds": 0})
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    assert not _steps(data)
    os.close(lock)
    assert process.wait(5) == 0


def test_the_real_trainer_refuses_a_bad_configuration_in_one_sentence(data: Path, start: Start) -> None:
    assert start({"no_such_key": 1}, REAL).wait(60) == 2
    error = read_json(data / "error.json")
    assert error is not None
    assert error["kind"] == "user" and "configuration" in error["message"]
    assert "Traceback" not in (data / "log.txt").read_text()
