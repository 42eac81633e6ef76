"""The uploaded data sets on the Data tab: what lies there, what room it takes, and which of it may go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr

from ..core.errors import UserError
from ..worker import quotas
from ..worker.run import Run
from ..worker.store import RunStore
from ..worker.upload_room import Upload, UploadRoom, limit_bytes, require_idle, users
from . import pieces
from .access import Access
from .events import QUIET

_ACT = """
element.addEventListener('click', (event) => {
  const on = event.target.closest('[data-upload]');
  if (!on || on.disabled) return;
  if (on.dataset.sure) { on.disabled = true; trigger('gone', {which: on.dataset.upload}); return; }
  on.dataset.sure = 'yes';
  on.textContent = 'Really delete?';
  setTimeout(() => { if (!on.disabled) { delete on.dataset.sure; on.textContent = 'Delete'; } }, 4000);
});
"""


class UploadsPart:
    """Builds the panel on construction; `wire` then connects it. A visitor sees his own uploads only."""

    def __init__(self, store: RunStore, uploads: Path, access: Access) -> None:
        self.store, self.room, self.access = store, UploadRoom(uploads), access
        self.panel = pieces.panel("uploads", "", _ACT)

    def own(self) -> list[Upload]:
        """Return the uploads of the visitor whose event this is; those of nobody are of everybody without a name."""
        owner = self.access.room()
        return [one for one in self.room.list() if not owner or one.owner == owner]

    def shown(self) -> str:
        """Return the panel's HTML."""
        try:
            found = self.own()
            limit = limit_bytes()
            allowed = quotas.upload_bytes_per_user(limit) if self.access.room() else limit
            return listed(found, users(self.store, [one.name for one in found]), allowed, time.time())
        except UserError as error:
            return pieces.notice("error", [str(error)])

    def delete(self, name: str) -> str:
        """Remove an upload of this visitor; return the panel's HTML. UserError where it is not his, or still needed."""
        if name not in [one.name for one in self.own()]:
            raise UserError("There is no such upload any more")
        require_idle(name, users(self.store, [name])[name])
        self.room.delete(name)
        return self.shown()

    def _gone(self, event: gr.EventData) -> str:
        try:
            return self.delete(str(event.which))  # type: ignore[attr-defined]
        except UserError as error:
            gr.Warning(str(error), title="Uploads")
            return self.shown()

    def wire(self) -> None:
        """Connect the buttons; when to look again is the page's."""
        self.panel.gone(self._gone, None, self.panel, **QUIET)  # type: ignore[attr-defined]


def listed(uploads: Sequence[Upload], named: dict[str, list[Run]], limit: int, now: float) -> str:
    """Return the uploads as HTML, the newest first, with the room that they take; empty where there are none."""
    if not uploads:
        return ""
    taken = sum(one.bytes for one in uploads)
    rows = "".join(_row(one, len(named.get(one.name, ())), now) for one in reversed(uploads))
    return (
        '<section class="ps-card ps-report"><h2>Uploads</h2>'
        f'<p class="ps-quiet">{pieces.size(taken)} of {_room(limit)}</p>'
        f"{pieces.bar(taken / limit if limit else 1.0, 'room taken by uploads')}"
        f'<div class="ps-uploads" role="list">{rows}</div></section>'
    )


def _row(one: Upload, runs: int, now: float) -> str:
    holds = ", ".join(one.holds) or "empty"
    used = f"used by {runs} run{'s' if runs > 1 else ''}" if runs else "used by no run"
    return (
        f'<div class="ps-known" role="listitem" data-runs="{runs}"><span><b>{escape(holds)}</b>'
        f"<small>{pieces.size(one.bytes)} · {pieces.ago(one.since, now)} · {used}</small></span>"
        f'<button type="button" class="ps-delete" data-upload="{one.name}" '
        f'aria-label="Delete {escape(holds, quote=True)}">Delete</button></div>'
    )


def _room(limit: int) -> str:
    return f"{limit / 1e9:g} GB"
