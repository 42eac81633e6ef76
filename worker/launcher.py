"""Starting worker processes, keeping them alive, and ending them so that nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .artefacts import VARIABLE as ARTEFACTS
from .capability import queues_of
from .connection import Unreachable
from .devices import gpus, machine_memory_gb
from .settings import ADDRESS, WorkerSettings
from .store import RunStore

HEARTBEAT = 5.0
SETTLED = 30.0
"""A worker that lived for so long was well; its next restart is at once again."""
_LOG_LIMIT = 5_000_000

_log = logging.getLogger(__name__)


@dataclass
class _Seat:
    """One place for a worker: what it is told, and the process that sits there now."""

    settings: WorkerSettings
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    born: float = 0.0
    again: float = 0.0
    wait: float = field(default=0.25)


class Workers:
    """Keeps `count` Celery workers running, one per GPU where there are GPUs (`device` "cpu" leaves those alone).

    `trainer` is the command of the trainer process (tests pass a small one). `close` drains: trainers write a
    checkpoint, their runs go back to the queue, and after at most `patience` seconds no process is left.
    """

    def __init__(
        self,
        store: RunStore,
        count: int,
        *,
        trainer: tuple[str, ...] | None = None,
        device: Literal["auto", "cpu"] = "auto",
        patience: float = 5.0,
    ):
        self.store = store
        self.patience = patience + (store.ledger.timing.transfer_grace if store.artefacts else 0.0)
        self._gpus = gpus() if count and device == "auto" else []
        self._seats = [self._seat(number, count, trainer) for number in range(count)]
        self._stop = threading.Event()
        self._beat = 0.0
        self._thread = threading.Thread(target=self._keep, name="workers", daemon=True)

    def start(self) -> None:
        """Start all of them; returns at once."""
        if not self._seats:
            return
        for seat in self._seats:
            self._launch(seat)
        self._thread.start()

    def close(self) -> None:
        """Drain and end all of them."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        living = [seat.process for seat in self._seats if seat.process is not None]
        for process in living:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.patience
        for process in living:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.warning("Worker %d did not drain in time and is killed", process.pid)
            _end(process)
        with contextlib.suppress(Unreachable):
            self._sign_off()

    def pids(self) -> list[int]:
        """The process ids of the workers that are alive now."""
        return [seat.process.pid for seat in self._seats if seat.process is not None and seat.process.poll() is None]

    def _seat(self, number: int, count: int, trainer: tuple[str, ...] | None) -> _Seat:
        host = socket.gethostname()
        environment = {**os.environ, ADDRESS: self.store.address.url}
        if self.store.artefacts is not None:
            environment[ARTEFACTS] = self.store.artefacts.url
        shown, device, memory, queues = "cpu", "cpu", machine_memory_gb(), queues_of("cpu")
        if self._gpus:
            gpu = self._gpus[number % len(self._gpus)]
            environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": gpu.index}
            shown, device, memory, queues = gpu.name, "auto", gpu.memory_gb, queues_of("cuda", gpu.memory_gb)
        elif count > 1:
            # Several trainers on the same cores: without a share each would start a thread for every core.
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
        name = f"{number + 1}.{os.getpid()}@{host}"
        values = {"trainer": trainer} if trainer else {}
        settings = WorkerSettings(
            name=name,
            data_dir=self.store.data_dir,
            device=device,
            shown_device=shown,
            memory_gb=memory,
            queues=queues,
            timing=self.store.ledger.timing,
            **values,
        )
        return _Seat(settings, environment, self.store.data_dir / "logs" / f"worker-{number + 1}.log")

    def _launch(self, seat: _Seat) -> None:
        seat.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if seat.log.exists() and seat.log.stat().st_size > _LOG_LIMIT:
            seat.log.replace(seat.log.with_suffix(".old.log"))
        with seat.log.open("ab") as out:
            seat.process = subprocess.Popen(
                [sys.executable, "-m", "pointsmith.worker.process", seat.settings.to_json()],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env=seat.environment,
                start_new_session=True,  # Ctrl-C is for the launcher, which then drains in order
            )
        seat.born = time.monotonic()

    def _keep(self) -> None:
        while not self._stop.wait(0.1):
            now = time.monotonic()
            for seat in self._seats:
                try:
                    self._restart_if_dead(seat, now)
                except OSError:  # no process or no log for the moment; the next turn tries again
                    _log.exception("Worker %s could not be started", seat.settings.name)
                    seat.again = now + 5.0
            if now - self._beat > HEARTBEAT:
                with contextlib.suppress(Unreachable):
                    self._sign()
                self._beat = now

    def _restart_if_dead(self, seat: _Seat, now: float) -> None:
        if seat.process is not None:
            if seat.process.poll() is None:
                return
            _end(seat.process)
            _log.warning("Worker %s ended with code %s", seat.settings.name, seat.process.returncode)
            seat.wait = 0.25 if now - seat.born > SETTLED else min(10.0, 2 * seat.wait)
            seat.again, seat.process = now + seat.wait, None
        if now >= seat.again:
            self._launch(seat)

    def _sign(self) -> None:
        """Tell Redis which workers live."""
        ledger = self.store.ledger
        with self.store.address.answering():
            seconds, micro = ledger.redis.time()
            for seat in self._seats:
                if seat.process is not None and seat.process.poll() is None:
                    name, _, host = seat.settings.name.partition("@")
                    sign = {
                        "host": host,
                        "pid": seat.process.pid,
                        "device": seat.settings.shown_device,
                        "memory_gb": seat.settings.memory_gb,
                        "queues": seat.settings.queues,
                        "heartbeat": seconds + micro / 1e6,
                    }
                    ledger.redis.hset(ledger.key("workers"), f"{name}@{host}", json.dumps(sign))

    def _sign_off(self) -> None:
        ledger = self.store.ledger
        if self._seats:
            with self.store.address.answering():
                ledger.redis.hdel(ledger.key("workers"), *(seat.settings.name for seat in self._seats))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that the worker and its pool process are gone, and the pipe to it closed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
