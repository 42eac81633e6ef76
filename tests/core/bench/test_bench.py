"""The benchmarks: the harness measures in turn, and every benchmark that core registers runs at its small size."""

from __future__ import annotations

import time

import pytest
import torch
from pointsmith.core.bench import gpu
from pointsmith.core.bench.harness import Candidate, Options, Report, compare, conditions, rows_of
from pointsmith.core.bench.registry import BENCHMARKS, run
from pointsmith.core.errors import UserError


def test_candidates_run_in_turn_and_ratios_are_to_the_first() -> None:
    calls: list[str] = []

    def work(name: str, seconds: float) -> None:
        calls.append(name)
        time.sleep(seconds)

    candidates = [Candidate("ours", lambda: work("a", 0.002)), Candidate("theirs", lambda: work("b", 0.02))]
    timings = compare(candidates, rounds=2, clock="wall", warmup=1)
    assert calls == ["a", "b"] * 3
    rows = rows_of("x", timings)
    assert rows[0][4] == rows[0][5] == 1.0
    assert 2 < rows[1][4] < 20  # type: ignore[operator]


def test_two_candidates_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        compare([Candidate("a", int), Candidate("a", int)], rounds=1)


def test_a_report_is_a_table() -> None:
    report = Report("n", "title", ("by", "ms"), [("a", 1.5), ("b", None), ("c", 12345.0)], ("A note.",))
    assert report.markdown().splitlines() == [
        *("### n: title", "", "| by | ms |", "| --- | ---: |", "| a | 1.50 |", "| b | – |", "| c | 12345 |"),
        *("", "A note."),
    ]
    assert report.json()["rows"][0] == ("a", 1.5)


def test_conditions_name_the_machine() -> None:
    told = conditions(Options(threads=3))
    assert told["threads"] == "3"
    assert {"processor", "python", "torch", "date", "command"} <= set(told)


def test_unknown_benchmark() -> None:
    with pytest.raises(UserError, match="no such benchmark"):
        run("nonsense", Options())


def test_data_holds_ours_against_a_loader() -> None:
    report = run("data", Options(rounds=1, small=True))
    assert next(row[1] for row in report.rows if row[0] == "8 × 256, cpu time") == "pointsmith, scale-shift"
    assert sum("DataLoader" in str(row[1]) for row in report.rows) == 1


@pytest.mark.parametrize("name", ["startup", "scaling"])
def test_runs_small(name: str) -> None:
    report = run(name, Options(rounds=1, small=True))
    assert report.rows
    assert all(len(row) == len(report.columns) for row in report.rows)
    assert all(cell > 0 for row in report.rows for cell in row if isinstance(cell, float))


@pytest.mark.parametrize("name", ["fps_cpu", "group_cpu"])
def test_points_are_equal_to_all_peers(name: str) -> None:
    report = run(name, Options(rounds=1, small=True))
    same = [row[4] for row in report.rows]
    assert len(same) >= 2
    assert set(same) == {100.0}
    assert name in BENCHMARKS


GPU = [name for name in BENCHMARKS if name.startswith("gpu_")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_its_benchmarks_say_so_in_a_line() -> None:
    assert len(GPU) == 7
    for name in GPU:
        with pytest.raises(UserError, match="needs a GPU") as caught:
            run(name, Options())
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Anomaly Detection:UserWarning")  # what published loops turn on
@pytest.mark.parametrize("name", GPU)
def test_what_a_gpu_is_asked_runs_on_the_cpu_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code but for events and graphs; on a machine with a GPU `pointsmith bench` runs those."""
    monkeypatch.setattr(gpu, "on_gpu", lambda: gpu.Place(torch.device("cpu"), "cpu"))
    report = run(name, Options(rounds=1, small=True))
    assert report.name == name and len(report.rows) >= 2
    assert all(len(row) == len(report.columns) for row in report.rows)
    if name in ("gpu_fps", "gpu_group"):
        assert all("100.00 %" in note for note in report.notes)
