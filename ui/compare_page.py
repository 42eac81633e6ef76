"""The Compare tab: any runs side by side, under an address of their own, live while one of them goes on."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from ..core.errors import UserError
from ..worker.own_runs import OwnRuns
from ..worker.run import FINAL
from ..worker.store import RunStore
from . import compare_view, pieces
from .address import address
from .compare_view import MOST, Compared
from .curves import Watch
from .events import PRIVATE, QUIET

SHOWN = 200
"""How many runs the menu offers, newest first."""

_CHARTS = "window.pointsmithCharts(element, props, watch);"


class ComparePage:
    """Builds the tab's components on construction; `wire` then connects them."""

    def __init__(self, store: RunStore | OwnRuns, watch: Watch) -> None:
        self.store, self.watch = store, watch
        with gr.Column(elem_classes="ps-page"):
            gr.HTML("<h2>Compare</h2>", apply_default_css=False)
            self.chosen = gr.Dropdown(
                [],
                value=[],
                multiselect=True,
                max_choices=MOST,
                label="Runs",
                info=f"Up to {MOST}; the address keeps the choice, so it can be sent to a colleague.",
                interactive=True,
                elem_id="compare-runs",
            )
            self.problem = pieces.panel("compare-problem")
            self.numbers = pieces.panel("compare-numbers", compare_view.numbers([]))
            self.charts = gr.HTML(
                None,
                html_template='<div class="ps-charts"></div>',
                js_on_load=_CHARTS,
                elem_id="compare-charts",
                apply_default_css=False,
            )
            self.told = pieces.panel("compared")
        self.timer = gr.Timer(2.0, active=False)
        # A text, not a State: the script that writes the address reads it in the browser.
        self.named = gr.Textbox("", visible=False)
        self.shown: list[Any] = [
            self.chosen,
            self.problem,
            self.numbers,
            self.charts,
            self.told,
            self.timer,
            self.named,
        ]

    def open(self, wanted: str | list[str] | None) -> list[Any]:
        """Return an update for each of `shown`: these runs (ids, as a list or joined by commas) side by side.

        Ids that are no runs of this visitor are named in a message, and the others are compared.
        """
        ids = [one for one in (wanted.split(",") if isinstance(wanted, str) else wanted or []) if one]
        ids = list(dict.fromkeys(ids))
        said: list[str] = []
        compared: list[Compared] = []
        try:
            runs = self.store.list(SHOWN)
            for one in ids[:MOST]:
                try:
                    compared.append(Compared(self.store.get(one), self.watch.of(one), len(compared) + 1))
                except UserError as error:
                    said.append(str(error))
        except UserError as error:
            return [gr.skip(), pieces.notice("error", [str(error)]), *[gr.skip()] * 5]
        if len(ids) > MOST:
            said.append(f"{len(ids)} runs are too many to tell apart; here are the first {MOST}.")
        known = {run.id for run in runs}
        offered = compare_view.titles([*runs, *(c.run for c in compared if c.run.id not in known)], time.time())
        active = any(one.run.state not in FINAL for one in compared)
        kept = [one.run.id for one in compared]
        return [
            gr.update(choices=offered, value=kept),
            pieces.notice("warning", said),
            compare_view.numbers(compared, len(offered)),
            gr.update(value=compare_view.charts(compared)),
            compare_view.details(compared),
            gr.Timer(active=active),
            ",".join(kept),
        ]

    def newest(self, named: str) -> list[Any]:
        """As `open`; where nothing is chosen yet, the newest finished runs, four at most."""
        if named:
            return self.open(named)
        try:
            finished = [run.id for run in self.store.list(SHOWN) if run.state == "succeeded"]
        except UserError as error:
            return [gr.skip(), pieces.notice("error", [str(error)]), *[gr.skip()] * 5]
        return self.open(finished[:4])

    def wire(self) -> None:
        """Connect what happens inside this tab; the address is the page's."""
        self.chosen.input(self.open, self.chosen, self.shown, **QUIET).then(
            None, self.named, None, js=address("compare"), **PRIVATE
        )
        self.timer.tick(self.open, self.named, self.shown, **QUIET)
