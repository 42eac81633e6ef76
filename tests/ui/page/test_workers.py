"""The page's table of workers, and what it says of runs that nobody can take."""

from __future__ import annotations

from pathlib import Path

from pointsmith.ui.run_view import run_list, worker_list
from pointsmith.worker.capability import Needs
from pointsmith.worker.run import Run, WorkerInfo

BUSY = WorkerInfo("1.7@lab", "lab <1>", 7, "NVIDIA H200", "ab" * 12, 100.0, 139.8, ("cuda", "any"))
IDLE = WorkerInfo("1.8@desk", "desk", 8, "cpu", None, 95.0, 23.5)


def _run(needs: Needs) -> Run:
    return Run(
        "ab" * 12, "cups", "queued", 1.0, None, None, None, 0, 1, {}, {}, None, None, Path("nowhere"), needs=needs
    )  # fmt: skip


def test_it_shows_host_device_memory_run_and_heartbeat() -> None:
    found = worker_list([BUSY, IDLE], [_run(Needs())], now=112.0)
    for part in (
        "lab &lt;1&gt;",
        "NVIDIA H200",
        "140 GB",
        ">cups</a>",
        f"?run={'ab' * 12}",
        "10 s ago",
        "24 GB",
        "idle",
    ):
        assert part in found, part
    assert worker_list([], [], now=0.0) == ""


def test_a_run_that_nobody_can_take_is_named() -> None:
    assert "No worker serves cuda-80" in run_list([_run(Needs("cuda", 60))], [BUSY, IDLE], now=112.0)
    assert "No worker serves" not in run_list([_run(Needs("cuda"))], [BUSY, IDLE], now=112.0)
