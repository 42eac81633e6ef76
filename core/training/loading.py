"""The stage of a run in which its data are read: in a thread, so that the run can tell how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import psutil

from ..data.apart import SHARE, load_apart
from ..data.config import DataConfig
from ..data.dataset import Dataset
from ..errors import UserError
from ..events import Stage

_EVERY = 0.5
"""Seconds between two events."""


class _Stopped(Exception):
    """Raised inside the reader when the user has asked to stop."""


def load_data(config: DataConfig, least: int, stop: Callable[[], bool]) -> Generator[Stage, None, Dataset | None]:
    """Read a data set, telling at most twice a second how far it is; return it, or None when `stop` came first.

    Files are read in a child of their own (see `apart`). Raises UserError as `load` does, and where the data would take
    more memory than there is.
    """
    latest = ("", 0, 0)

    def progress(what: str, done: int, total: int) -> None:
        nonlocal latest
        latest = (what, done, total)
        if stop():
            raise _Stopped

    told, begun = latest, time.monotonic()
    with _bounded(), ThreadPoolExecutor(1, thread_name_prefix="data") as pool:
        reading = pool.submit(load_apart, config, least=least, progress=progress)
        while not reading.done():
            wait([reading], timeout=_EVERY)
            if latest != told and time.monotonic() - begun >= _EVERY:
                told, (what, done, total) = latest, latest
                yield Stage(stage="data", message=f"{what}: {done:,} of {total:,}", done=done, total=total)
    try:
        return reading.result()
    except _Stopped:
        return None
    except MemoryError as error:
        raise UserError(
            f"The data set {config.kind} does not fit into the memory of this machine",
            remedy="Use fewer or smaller clouds, or a machine with more memory",
        ) from error


@contextmanager
def _bounded() -> Generator[None]:
    """Refuse memory beyond what is free while the block runs, so that a huge file ends its run and not the machine.

    Only while data are read: later a GPU's driver maps more address space than there is memory. Where the system has
    no such limit (macOS), nothing is bounded.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + int(SHARE * psutil.virtual_memory().available)
    if soft != resource.RLIM_INFINITY:
        most = min(most, soft)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    except (OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
