"""Wait for a condition, time a promise, and find the processes that a test has started."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pointsmith.worker.timing import Timing

FAST = Timing(lease=2.0, renew=0.4, reap=0.2, resend=0.5)


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
