"""The gallery: every adapter that a visitor may try, of his runs, pulled, and shipped, each a link to its address."""

from __future__ import annotations

from html import escape
from typing import Any
from urllib.parse import quote

import gradio as gr

from ..core.errors import UserError
from . import pieces
from .events import PRIVATE, QUIET
from .shelf import Entry, HubShelf, Shelf


class Gallery:
    """Builds the panel on construction; `wire` has it filled whenever its tab is opened."""

    def __init__(self, shelf: Shelf, pulled: HubShelf) -> None:
        self.shelf, self.pulled = shelf, pulled
        with gr.Accordion("Gallery of adapters", open=False, elem_id="gallery", elem_classes="ps-card"):
            self.shown = pieces.panel("gallery-list", "")
            self.damaged = gr.Dropdown([], label="Unreadable adapters", visible=False, elem_id="gallery-damaged")
            self.remove = gr.Button("Remove it", visible=False, size="md", elem_id="gallery-remove")

    def view(self) -> str:
        """Return the list."""
        try:
            return rows(self.shelf.entries())
        except UserError as error:
            return pieces.notice("error", [str(error)])

    def refresh(self) -> list[Any]:
        """Return the updates of the list, and of what removes unreadable adapters, which is shown where there are."""
        names = [entry.name for entry in self.pulled.unreadable()]
        return [
            self.view(),
            gr.update(choices=names, value=names[0] if names else None, visible=bool(names)),
            gr.update(visible=bool(names)),
        ]

    def remove_damaged(self, name: str | None) -> list[Any]:
        """Remove an unreadable adapter; return what `refresh` does."""
        try:
            self.pulled.remove(str(name or ""))
        except UserError as error:
            raise gr.Error(str(error), title="Gallery", print_exception=False) from error
        return self.refresh()

    def wire(self, tab: gr.Tab, blocks: gr.Blocks) -> None:
        """Connect to the opening of the tab and of the page, and to the button."""
        shown = [self.shown, self.damaged, self.remove]
        tab.select(self.refresh, None, shown, **QUIET)
        blocks.load(self.refresh, None, shown, **QUIET)
        self.remove.click(self.remove_damaged, self.damaged, shown, **PRIVATE)


def rows(entries: list[Entry]) -> str:
    """Return the entries as a list of links."""
    if not entries:
        return pieces.empty("No adapter yet", "Train one, or name one of the Hub above.")
    inner = "".join(
        _damaged(one)
        if one.problem
        else f'<a class="ps-run" role="listitem" href="?adapter={quote(one.key)}">{pieces.chip("queued", one.source)}'
        f'<span class="ps-run-name"><b>{escape(one.name)}</b><small>{escape(one.about)}</small></span>'
        f'<span class="ps-run-bar"></span><span class="ps-run-right">{escape(one.score)}</span></a>'
        for one in entries
    )
    return f'<div class="ps-runs" role="list">{inner}</div>'


def _damaged(entry: Entry) -> str:
    return (
        f'<div class="ps-run" role="listitem" data-unreadable>{pieces.chip("failed", entry.source)}'
        f'<span class="ps-run-name"><b>{escape(entry.name)}</b><small>{escape(entry.problem)}</small></span></div>'
    )
