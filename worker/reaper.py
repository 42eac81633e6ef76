"""Setting right what crashes left: runs of vanished workers go back to the queue, and lost hints are sent again.

It lives in every launcher, as a thread beside (never inside) the Celery processes, which fork. Many at once are safe:
each move is one atomic script.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from ..core.errors import UserError
from .celery_app import AGAIN, NEW, hint_lists
from .connection import Unreachable
from .site import Site
from .store import RunStore

SPARE_HINTS = 100

_log = logging.getLogger(__name__)


class Reaper:
    """Sweeps until closed; `sweep` can be called by itself, too."""

    def __init__(self, store: RunStore, site: Site | None = None):
        self.store = store
        self.site = site
        self.ledger = store.ledger
        self._life = ""
        self._tidied = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reaper", daemon=True)

    def start(self) -> None:
        """Begin to sweep in the background."""
        self._thread.start()

    def close(self) -> None:
        """End the background sweeping."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        away = False
        while not self._stop.wait(self.ledger.timing.reap):
            try:
                self.sweep()
            except Unreachable as error:
                if not away:
                    _log.warning("%s", error)
                away = True
            except Exception:  # a thread that ends in silence would leave runs waiting for ever
                _log.exception("A sweep failed; the next one tries again")
            else:
                away = False

    def sweep(self) -> list[str]:
        """Look once; returns the ids of the runs that were taken from vanished workers."""
        reaped = self._reap()
        for run_id, queue in self.ledger.overdue(self._silent_queues()):
            self.store.hint(run_id, NEW, queue)
        if (now := time.monotonic()) > self._tidied + self.ledger.timing.tidy:
            self._tidied = now
            self.store.tidy()
            if self.site is not None:
                self.site.sign()
        return reaped

    def _reap(self) -> list[str]:
        life, age = self.ledger.server()
        if life != self._life:
            self._life = life
            self.store.read_in()  # should it have come back without its data, the runs' folders have them
        if age < self.ledger.timing.lease:
            return []  # while Redis was away nobody could renew; the living come first
        budget = self.ledger.timing.budget
        message = f"The worker vanished during the run, {budget} times without a new checkpoint"
        found = self.ledger.reap({"kind": "lost", "message": message, "log": []})
        for run_id, state, queue in found:
            if state == "queued":
                self.store.hint(run_id, AGAIN, queue)
            else:
                with contextlib.suppress(UserError):  # deleted since
                    self.store.record(run_id)
        return [run_id for run_id, _, _ in found]

    def _silent_queues(self) -> list[str]:
        """The queues for which the broker holds no hint; elsewhere nobody was free to take it, and none is needed.

        Hints of cancelled runs stay when no worker serves their queue. Too many are dropped: the queued runs among
        them are overdue then, and get new ones.
        """
        lists = hint_lists()
        with self.store.address.answering():
            pipe = self.ledger.redis.pipeline(transaction=False)
            for names in lists.values():
                for name in names:
                    pipe.llen(name)
            pipe.zcard(self.ledger.key("queued"))
            *lengths, queued = pipe.execute()
            each = len(lengths) // len(lists)
            waiting = {queue: sum(lengths[at * each : (at + 1) * each]) for at, queue in enumerate(lists)}
            for queue, count in waiting.items():
                if count > 2 * queued + SPARE_HINTS:
                    self.ledger.redis.delete(*lists[queue])
        return [queue for queue, count in waiting.items() if not count]
