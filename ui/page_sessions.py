"""What Gradio remembers of visitors, so that visits and API calls do not make the page grow.

Gradio keeps the whole configuration of the page for each of the last 10,000 sessions, and the messages of 2,000 whose
clients never fetched them. Here a session is kept from its first own value on, without a copy of the configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, cast

import gradio as gr
from gradio.queueing import Queue
from gradio.routes import App, file_upload_statuses
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache

SESSIONS = 128
"""Sessions that are remembered; the one that was used longest ago goes first."""
_IDLE = timedelta(hours=12)
_CLOSED = timedelta(hours=1)
_STREAMS = 512
"""Sessions that may wait for messages at the same time."""
_WAITING = 500
"""Events in the queue, of all visitors."""
_SWEEP_SECONDS = 15.0
_UNREAD_SECONDS = 60.0


class PageSession(SessionState):
    """One visitor's own values and components. The holder keeps it once there are any."""

    def __init__(self, holder: PageSessions, session_hash: str) -> None:
        # Not SessionState's own: it would copy the configuration of each component.
        self.blocks_config = holder.blocks.default_config.__copy__()
        self.config_values = {}
        self.state_data = {}
        self._state_ttl = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = int(_CLOSED.total_seconds())
        self._holder, self._hash = holder, session_hash

    def __setitem__(self, key: int, value: Any) -> None:
        if self.blocks_config.blocks.get(key) is value:
            return
        # Two first events of one page run side by side: what either sets belongs into the session that is kept.
        for session in {self, self._holder.keep(self._hash, self)}:
            session.set(key, value)

    def set(self, key: int, value: Any) -> None:
        """Set a component, or the value of a `gr.State`."""
        block = self.blocks_config.blocks.get(key)
        if isinstance(block, gr.State):
            self._state_ttl[key] = (block.time_to_live, datetime.now())
            self.state_data[key] = value
        else:
            self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        return None

    def _update_value_in_config(self, key: int, value: Any) -> None:
        return None


class PageSessions(StateHolder):
    """Gradio's holder of sessions, for those that hold something and were used lately."""

    def __getitem__(self, session_id: str) -> SessionState:
        session = self.session_data.get(session_id)
        if session is None:
            return PageSession(self, session_id)
        session.is_closed = False
        self.update(session_id)
        self.time_last_used[session_id] = datetime.now()
        return session

    def keep(self, session_id: str, session: PageSession) -> PageSession:
        """Remember a session that has something of its own now; return the one that is remembered under this name."""
        remembered = self.session_data.setdefault(session_id, session)
        self.update(session_id)
        self.time_last_used[session_id] = datetime.now()
        return cast(PageSession, remembered)

    def delete_all_expired_state(self) -> None:
        """Forget sessions that nobody used for long. Gradio calls it each second."""
        now = datetime.now()
        for session_id, used in list(self.time_last_used.items()):
            session = self.session_data.get(session_id)
            if session is None or now - used > (_CLOSED if session.is_closed else _IDLE):
                self.delete_state(session_id)
                self.session_data.pop(session_id, None)
                self.time_last_used.pop(session_id, None)


def bound_sessions(app: App) -> None:
    """Let Gradio's application remember a bounded number of sessions, messages and events."""
    blocks = app.get_blocks()
    blocks.state_session_capacity = SESSIONS
    app.state_holder = PageSessions()
    app.state_holder.set_blocks(blocks)
    queue = blocks._queue
    queue.max_size = _WAITING
    queue.pending_messages_per_session = LRUCache(_STREAMS)
    # The monitoring page is not served, and its summary would be made anew after each event.
    queue.ANALYTICS_MAX_EVENTS = 1
    queue.ANAYLTICS_CACHE_FREQUENCY = 2**62


@contextlib.asynccontextmanager
async def sweeping(blocks: gr.Blocks) -> AsyncIterator[None]:
    """Drop what no client came for, time and again, while the application runs."""

    async def sweep_often() -> None:
        idle: dict[str, float] = {}
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            sweep(blocks._queue, idle)

    task = asyncio.create_task(sweep_often())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def sweep(queue: Queue, idle: dict[str, float], patience: float = _UNREAD_SECONDS) -> None:
    """Forget the messages of sessions without an event for `patience` seconds; `idle` says since when, for the next."""
    now = time.monotonic()
    busy = {event.session_hash for event in list(queue.event_ids_to_events.values())}
    known = set(queue.pending_event_ids_session) | set(queue.pending_messages_per_session)
    for session_hash in list(idle):
        if session_hash in busy or session_hash not in known:
            del idle[session_hash]
    for session_hash in known - busy:
        if now - idle.setdefault(session_hash, now) >= patience:
            queue.pending_event_ids_session.pop(session_hash, None)
            queue.pending_messages_per_session.pop(session_hash, None)
            del idle[session_hash]
    # Whoever asks for the progress of an upload that does not exist leaves a signal, which nobody sets.
    signals = file_upload_statuses._signals
    for upload_id in [one for one in signals if one not in file_upload_statuses._statuses]:
        if not signals[upload_id]._waiters:
            del signals[upload_id]
    if len(file_upload_statuses._statuses) > _STREAMS:
        for upload_id in [one for one, status in file_upload_statuses._statuses.items() if status.is_done]:
            file_upload_statuses.stop_tracking(upload_id)
