"""The chaos gate as CI runs it: twelve runs, and one kill -9 of each kind."""

from __future__ import annotations

import pytest

from tests.chaos import run as gate


@pytest.mark.slow
def test_twelve_runs_survive_a_kill_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    report = gate.play(seed=1, runs=12, workers=2, kills=5, limit=50.0)
    assert set(report.kills) == {"worker", "child", "trainer", "redis", "web"}
    assert (report.lost, report.overlapping, report.broken) == ([], [], [])
    assert report.attempts > report.runs, "no kill met a run"


def test_the_judge_sees_two_trainers_at_once() -> None:
    def done(*lines: tuple[int, float, int]) -> list[dict[str, float]]:
        return [{"pid": pid, "time": time, "token": token} for pid, time, token in lines]

    assert not gate.overlap(done((1, 0.0, 1), (1, 1.0, 1), (2, 2.0, 2), (2, 3.0, 2)))
    assert gate.overlap(done((1, 0.0, 1), (2, 0.5, 2), (1, 1.0, 1)))
    assert gate.overlap(done((1, 0.0, 2), (2, 1.0, 1)))  # one after the other, but the older token later
