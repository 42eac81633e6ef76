"""Events of several attempts told as one story."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker.timeline import Cursor, Entry, complete_lines, events_file, read_entries, tell


def _step(token: int, number: int, step: int) -> Entry:
    return token, number, json.dumps({"kind": "step", "step": step, "by": token})


def _epoch(token: int, number: int, epoch: int, step: int) -> Entry:
    return token, number, json.dumps({"kind": "epoch", "epoch": epoch, "step": step, "by": token})


def _steps(events: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(event["step"], event["by"]) for event in events if event["kind"] == "step"]


FIRST = [_step(1, 1, 1), _step(1, 2, 2), _epoch(1, 3, 1, 2), _step(1, 4, 3), _step(1, 5, 4)]
SECOND = [_step(2, 1, 3), _step(2, 2, 4), _epoch(2, 3, 2, 4), _step(2, 4, 5)]


def test_the_newest_attempt_wins() -> None:
    events, cursor = tell(FIRST + SECOND, Cursor())
    assert _steps(events) == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]
    assert [event["epoch"] for event in events if event["kind"] == "epoch"] == [1, 2]
    assert str(cursor) == "2-4:5:2"


@pytest.mark.parametrize("cut", range(len(FIRST + SECOND) + 1))
def test_a_follower_gets_each_step_and_epoch_once_wherever_it_paused(cut: int) -> None:
    entries = FIRST + SECOND
    before, cursor = tell(entries[:cut], Cursor())
    after, _ = tell(entries[cut:], Cursor.parse(str(cursor)))
    events = before + after
    assert [event["step"] for event in events if event["kind"] == "step"] == [1, 2, 3, 4, 5]
    assert [event["epoch"] for event in events if event["kind"] == "epoch"] == [1, 2]


def test_files_are_read_like_the_stream(tmp_path: Path) -> None:
    for token, entries in ((1, FIRST), (2, SECOND)):
        events_file(tmp_path, token).write_text("".join(line + "\n" for _, _, line in entries))
    with events_file(tmp_path, 2).open("a") as file:
        file.write('{"kind": "st')  # still being written
    assert list(read_entries(tmp_path, Cursor())) == FIRST + SECOND
    assert list(read_entries(tmp_path, Cursor(1, 4))) == [FIRST[4], *SECOND]
    assert list(read_entries(tmp_path, Cursor(2, 4))) == []


def test_lines_are_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "events"
    lines = ["x" * 30, "ü" * 20, "", "short"]
    path.write_text("\n".join(lines) + "\nunfinished")
    found, offset = [], 0
    while True:
        some, offset = complete_lines(path, offset, limit=7)
        if not some:
            break
        found += some
    assert found == lines
    assert complete_lines(tmp_path / "none", 0) == ([], 0)


@pytest.mark.parametrize("text", ["", "1", "1-2", "1-2:3", "x-1:2:3", "-1-2:3:4"])
def test_other_cursors_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        Cursor.parse(text)
