"""The gallery: every adapter that a visitor may try, of his runs, pulled, and shipped, each a link to its address."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

import gradio as gr

from ..core.errors import UserError
from . import pieces
from .events import QUIET
from .shelf import Entry, Shelf


class Gallery:
    """Builds the panel on construction; `wire` has it filled whenever its tab is opened."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        with gr.Accordion("Gallery of adapters", open=False, elem_id="gallery", elem_classes="ps-card"):
            self.shown = pieces.panel("gallery-list", "")

    def view(self) -> str:
        """Return the list."""
        try:
            return rows(self.shelf.entries())
        except UserError as error:
            return pieces.notice("error", [str(error)])

    def wire(self, tab: gr.Tab, blocks: gr.Blocks) -> None:
        """Connect to the opening of the tab and of the page."""
        tab.select(self.view, None, self.shown, **QUIET)
        blocks.load(self.view, None, self.shown, **QUIET)


def rows(entries: list[Entry]) -> str:
    """Return the entries as a list of links."""
    if not entries:
        return pieces.empty("No adapter yet", "Train one, or name one of the Hub above.")
    inner = "".join(
        f'<a class="ps-run" role="listitem" href="?adapter={quote(one.key)}">{pieces.chip("queued", one.source)}'
        f'<span class="ps-run-name"><b>{escape(one.name)}</b><small>{escape(one.about)}</small></span>'
        f'<span class="ps-run-bar"></span><span class="ps-run-right">{escape(one.score)}</span></a>'
        for one in entries
    )
    return f'<div class="ps-runs" role="list">{inner}</div>'
