"""The stage of a run in which its data are read: in a thread, so that the run can tell how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait

from ..data.config import DataConfig
from ..data.dataset import Dataset
from ..data.load import load
from ..events import Stage

_EVERY = 0.5
"""Seconds between two events."""


class _Stopped(Exception):
    """Raised inside the reader when the user has asked to stop."""


def load_data(config: DataConfig, least: int, stop: Callable[[], bool]) -> Generator[Stage, None, Dataset | None]:
    """Read a data set, telling at most twice a second how far it is; return it, or None when `stop` came first.

    Raises UserError as `load` does.
    """
    latest = ("", 0, 0)

    def progress(what: str, done: int, total: int) -> None:
        nonlocal latest
        latest = (what, done, total)
        if stop():
            raise _Stopped

    told, begun = latest, time.monotonic()
    with ThreadPoolExecutor(1, thread_name_prefix="data") as pool:
        reading = pool.submit(load, config, least=least, progress=progress)
        while not reading.done():
            wait([reading], timeout=_EVERY)
            if latest != told and time.monotonic() - begun >= _EVERY:
                told, (what, done, total) = latest, latest
                yield Stage(stage="data", message=f"{what}: {done:,} of {total:,}", done=done, total=total)
    try:
        return reading.result()
    except _Stopped:
        return None
