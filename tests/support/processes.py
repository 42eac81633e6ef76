"""Child processes and threads of tests: Ctrl-C reaches them, and nothing waits for them without a bound."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any

import psutil
import pytest

PATIENCE = 300.0
"""Seconds after which a child or thread counts as stuck. A busy machine needs a fraction of it."""


def restore_interrupts() -> None:
    """Let the children of this process receive Ctrl-C also where this process ignores it. Call it in the main thread.

    A shell without job control starts background jobs (`nohup python -m pytest &`) with SIGINT ignored, and `exec`
    hands an ignored signal on to every child. A handler is not handed on: children start with the default action.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, _ignore)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Go on: whoever started this process in the background wants it to outlive a Ctrl-C."""


class Child(subprocess.Popen[Any]):
    """A child process for which every wait ends: after `PATIENCE` seconds it is killed with all its descendants."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code; a child that gets no `timeout` is killed after `PATIENCE`."""
        try:
            return super().wait(PATIENCE if timeout is None else timeout)
        except subprocess.TimeoutExpired:
            if timeout is None:
                self.kill_all()
            raise

    def read_line(self) -> Any:
        """Return the next line of stdout; what is there after `PATIENCE` seconds, when the child is killed."""
        assert self.stdout is not None
        timer = threading.Timer(PATIENCE, self.kill_all)
        timer.start()
        try:
            return self.stdout.readline()
        finally:
            timer.cancel()

    def finish(self, timeout: float = PATIENCE) -> tuple[Any, Any]:
        """Return (stdout, stderr) once the child has ended; kill it and fail the test with both after `timeout`."""
        try:
            return self.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill_all()
            pytest.fail(f"{self.args!r} did not end within {timeout:.0f} s: {self.communicate(timeout=30)}")

    def kill_all(self) -> None:
        """Kill the child and its descendants, who may hold its pipes open."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.kill()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.kill_all()
        super().__exit__(kind, error, trace)


def join(threads: Iterable[threading.Thread]) -> None:
    """Wait until the threads have ended; fail the test when one has not after `PATIENCE` seconds."""
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread.name} did not end within {PATIENCE:.0f} s"


def ended(processes: Iterable[psutil.Process], timeout: float) -> bool:
    """Whether all these processes end within `timeout` seconds; one that only waits to be reaped has ended."""
    _, alive = psutil.wait_procs(list(processes), timeout=timeout)
    return not any(_runs(process) for process in alive)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
