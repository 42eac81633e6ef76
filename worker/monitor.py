"""The Celery application for monitors: `REDIS_URL=… celery -A pointsmith.worker.monitor flower`.

Workers report to monitors only when they were started with POINTSMITH_CELERY_EVENTS=1. What monitors show are hints,
and nothing a monitor does to them changes a run: whether it waits, runs or has ended stands in the ledger alone.
"""

from __future__ import annotations

import os

from celery import Celery

from .celery_app import make_app
from .connection import RedisAddress


def __getattr__(name: str) -> Celery:
    """Make the application when Celery's command line asks for it, and nothing at import."""
    if name not in ("app", "celery"):
        raise AttributeError(name)
    return make_app(RedisAddress.parse(os.environ.get("REDIS_URL") or "redis://localhost:6379/0"), monitored=True)
