"""Celery as the messenger: a message is a hint that a run waits in a queue; the ledger says which run is next there.

Measured reasons for the settings: no late acknowledgement (with it a run longer than the visibility timeout runs twice,
or hangs for an hour after a kill), no prefetching (a restart of Redis would strand what was fetched, and an idle worker
would wait behind a busy one), no result backend (it reported finished jobs as failed after a restart of Redis).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from celery import Celery
from kombu.exceptions import OperationalError

from .capability import all_queues
from .connection import RedisAddress

TASK = "pointsmith.run"
EVENTS = "POINTSMITH_CELERY_EVENTS"
"""The environment variable that makes workers answer and report as Celery's monitors expect; off, as measured."""
KEY_PREFIX = "ps:celery:"
NEW, AGAIN = 6, 0
"""Priorities: with Redis the smaller number goes first, and a run that was sent back has waited already."""
STEPS = (0, 3, 6, 9)
"""Kombu keeps one list for each of these priorities."""

_log = logging.getLogger(__name__)


def make_app(address: RedisAddress, *, monitored: bool = False) -> Celery:
    """A Celery application on this Redis, without tasks: enough to send hints.

    `monitored` lets a worker answer to and report to Flower and `celery inspect`.
    """
    app = Celery("pointsmith", set_as_current=False)
    transport: dict[str, object] = {
        "health_check_interval": 10,
        "socket_connect_timeout": 5,
        "global_keyprefix": KEY_PREFIX,
        "priority_steps": list(STEPS),
    }
    if not address.celery_url.startswith("redis+socket:"):
        transport["socket_keepalive"] = True
    app.conf.update(
        broker_url=address.celery_url,
        result_backend=None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
        worker_enable_remote_control=monitored,
        worker_send_task_events=monitored,
        worker_hijack_root_logger=False,
        task_default_queue="any",
        task_queue_max_priority=None,
    )
    return app


def send_hint(address: RedisAddress) -> Callable[..., None]:
    """A function `hint(run_id, priority=NEW, queue="any")` that tells the workers of a queued run.

    It never raises for a missing Redis: the ledger has the run, and a reaper sends the hint again.
    """
    app = make_app(address)

    def hint(run_id: str, priority: int = NEW, queue: str = "any") -> None:
        try:
            app.send_task(TASK, args=[run_id, queue], priority=priority, queue=queue, ignore_result=True)
        except (OperationalError, OSError) as error:
            _log.warning("No hint for run %s got through (%s); the reaper sends it again", run_id, error)

    return hint


def hint_lists() -> dict[str, list[str]]:
    """The Redis lists in which undelivered hints wait, for each queue."""
    return {
        queue: [f"{KEY_PREFIX}{queue}" + (f"\x06\x16{step}" if step else "") for step in STEPS]
        for queue in all_queues()
    }
