"""Everything that must run beside the page: Redis (unless one is given), workers and the reaper, as one object."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal

from .artefacts import Artefacts
from .connection import RedisAddress, Unreachable
from .data_dir import default_data_dir, prepare_data_dir
from .embedded_redis import EmbeddedRedis
from .launcher import Workers
from .reaper import Reaper
from .site import Site
from .store import RunStore
from .timing import Timing

COMEBACK = 15.0
"""Seconds in which a private Redis is surely started again by one of its launchers."""


class Service:
    """Runs from the moment it is made until `close`; `store` is what the page works with.

    `redis_url` None takes REDIS_URL from the environment, and without that starts (or adopts) the private server of
    this data folder. `workers` 0 starts none: a page whose workers run elsewhere, or a command that only looks.
    `device` "cpu" leaves this machine's GPUs alone. POINTSMITH_ARTEFACTS is tried out before anything is started.
    Raises UserError for an unusable folder, a refused address or a Redis that does not answer; nothing is left then.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        workers: int = 1,
        redis_url: str | None = None,
        *,
        trainer: tuple[str, ...] | None = None,
        timing: Timing | None = None,
        device: Literal["auto", "cpu"] = "auto",
    ):
        self.data_dir = prepare_data_dir(data_dir or default_data_dir())
        artefacts = Artefacts.from_environment()
        identity = artefacts.check() if artefacts else None
        redis_url = redis_url or os.environ.get("REDIS_URL") or None
        with contextlib.ExitStack() as stack:
            self.redis: EmbeddedRedis | None = None
            if redis_url is None:
                self.redis = EmbeddedRedis(self.data_dir / "redis")
                stack.callback(self.redis.close)
                redis_url = self.redis.address.url
            else:
                RedisAddress.parse(redis_url).check()
            self.store = RunStore(redis_url, self.data_dir, timing=timing, artefacts=artefacts)
            stack.callback(self.store.close)
            self.site = Site(self.store.ledger, self.data_dir, identity)
            stack.callback(self.site.leave)
            self._enter()
            self.reaper = Reaper(self.store, self.site)
            stack.callback(self.reaper.close)
            self.reaper.start()
            self.workers = Workers(self.store, workers, trainer=trainer, device=device)
            stack.callback(self.workers.close)
            self.workers.start()
            self._ending = stack.pop_all()

    def _enter(self) -> None:
        """Say who we are and read the folders in; a private Redis that was just killed is given time to come back."""
        deadline = time.monotonic() + (COMEBACK if self.redis else 0.0)
        while True:
            try:
                self.site.join()
                self.store.read_in()
                return
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def close(self) -> None:
        """Drain the workers, then end the reaper and, as the last launcher on this folder, Redis. Takes up to 5 s.

        A second Ctrl-C meanwhile is ignored: it could only turn an orderly end into one that has to be recovered from.
        """
        with _undisturbed():
            self._ending.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def wait(self) -> None:
        """Stay until Ctrl-C or SIGTERM (see `ending_on_sigterm`); for a launcher that only has workers."""
        threading.Event().wait()


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM (from a service manager or a container) ends the program as Ctrl-C does; main thread only."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
