"""One worker process: `python -m pointsmith.worker.process SETTINGS` is a real Celery worker with one task.

Its standard input is a pipe from the launcher: when that closes, the worker drains as on SIGTERM, so a launcher that
was killed leaves no workers behind. Draining gives the run at hand back to the queue instead of waiting for its end.
The Redis address comes by environment, since it may hold a password and arguments can be read by everybody.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from typing import Any

from celery.signals import worker_process_init, worker_shutting_down

from .celery_app import EVENTS, TASK, make_app
from .connection import RedisAddress
from .scrub import guard_output
from .settings import ADDRESS, WorkerSettings
from .store import RunStore
from .supervisor import Supervisor


class Drain:
    """A flag from the Celery parent to its pool process: a pipe whose closing means that the worker has to go."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()

    def begin(self, **_: Any) -> None:
        """Raise the flag; called in the parent."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def in_pool(self, **_: Any) -> None:
        """Let go of the parent's end, or the flag would never be seen; called in the pool process."""
        self.begin()

    def __call__(self) -> bool:
        return bool(select.select([self._reading], [], [], 0)[0])


class Follower:
    """What the worker's one task does. Its connections are made in the pool process: none may cross a fork."""

    def __init__(self, address: RedisAddress, settings: WorkerSettings, drain: Drain):
        self._address, self._settings, self._drain = address, settings, drain
        self._supervisor: Supervisor | None = None

    def follow(self, run_id: str, queue: str = "any") -> None:
        """Run what is next in a queue; `run_id` is only the run for which the hint was sent, for Celery's monitors."""
        if self._supervisor is None:
            store = RunStore(self._address.url, self._settings.data_dir, timing=self._settings.timing)
            self._supervisor = Supervisor(store, self._settings, self._drain)
        self._supervisor.hint(queue)


def drain_with_launcher() -> None:
    """Send ourselves SIGTERM when standard input closes."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="launcher-watch", daemon=True).start()


def main(arguments: list[str]) -> None:
    """Serve hints until told to stop."""
    settings = WorkerSettings.from_json(arguments[0])
    address = RedisAddress.parse(os.environ[ADDRESS])
    monitored = os.environ.get(EVENTS, "") not in ("", "0")
    app = make_app(address, monitored=monitored)
    drain = Drain()
    app.task(name=TASK, ignore_result=True)(Follower(address, settings, drain).follow)
    worker_shutting_down.connect(drain.begin, weak=False)
    worker_process_init.connect(drain.in_pool, weak=False)
    drain_with_launcher()
    app.worker_main(
        [
            "--quiet",  # the banner would write the address, password and all, into the log
            "worker",
            "--pool=prefork",
            "--concurrency=1",
            f"--queues={','.join(settings.queues)}",
            f"--hostname={settings.name}",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            *([] if monitored else ["--without-heartbeat"]),
        ]
    )


if __name__ == "__main__":
    guard_output()
    main(sys.argv[1:])
