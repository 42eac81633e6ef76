"""The whole page: header and tabs, and what leads from one tab to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from ..core.config import parse_config
from ..core.errors import UserError
from ..core.hub.pull import shelf_dir
from ..worker.quotas import adapters_per_user, require_count
from ..worker.store import RunStore
from ..worker.sweeps import Sweeps
from . import pieces
from .access import Access
from .address import ADDRESSED, address
from .api import Api
from .compare_page import ComparePage
from .data_page import Checked, DataPage
from .events import PRIVATE, QUIET
from .gallery import Gallery
from .guarded_blocks import GuardedBlocks
from .handover import handed
from .hub_login import reading_hub
from .predict_page import PredictPage
from .runs_page import RunsPage
from .share import SharePart
from .shelf import ExampleShelf, HubShelf, RunShelf, Shelves
from .sweep_page import SweepPage
from .theme import logo
from .train_page import TrainPage
from .uploads_part import UploadsPart

_TAGLINE = "Teach 3D point-cloud and vision transformers new classes with tiny adapters."
# Gradio encrypts what it keeps in the browser; a fixed key lets a form outlive a restart. It guards no secret.
_DRAFT_KEY = "pointsmith-form"
_FOLLOW_ADDRESS = f"""
window.addEventListener('popstate', () => {{
  const named = new URL(location).searchParams;
  trigger('moved', Object.fromEntries({list(ADDRESSED)}.map((key) => [key, named.get(key) || ''])));
}});
"""


_HELLO = (
    '<p class="ps-hello" hidden><span>First time here? Press <b>Start training</b>: in about two minutes a small '
    "transformer learns fifteen everyday objects. Then turn one under <b>Predict</b>.</span>"
    '<button type="button">Got it</button></p>'
)
_LEAVE = '<form method="post" action="logout" class="ps-leave"><button type="submit">Log out</button></form>'


def _pulled(data_dir: Path, access: Access) -> HubShelf:
    """Return what a visitor pulled from the Hub. What visitors with logins pull is kept apart."""

    def place() -> Path:
        room = access.room()
        return data_dir / "adapters" / room if room else shelf_dir()

    def require_room(count: int) -> None:
        if access.room():
            require_count(count, adapters_per_user(), "pulled adapters")

    return HubShelf(lambda: reading_hub(access), place, require_room=require_room)


class Page:
    """All tabs over one store."""

    def __init__(self, store: RunStore, data_dir: Path, access: Access) -> None:
        runs, pulled = access.runs(store), _pulled(data_dir, access)
        with GuardedBlocks(title="Pointsmith", analytics_enabled=False, delete_cache=(3600, 86400)) as self.blocks:
            self.draft = gr.BrowserState("", storage_key=_DRAFT_KEY, secret=_DRAFT_KEY)
            self.top = gr.HTML(
                f'<header class="ps-top">{logo()}<div><h1>Pointsmith</h1><p>{_TAGLINE}</p></div></header>',
                apply_default_css=False,
                js_on_load=_FOLLOW_ADDRESS + "window.pointsmithTitle();",
            )
            if access.door == "accounts":
                gr.HTML(_LEAVE, apply_default_css=False, elem_id="leave")
            elif access.door == "oauth":
                gr.LoginButton(size="sm", elem_id="hf-login")
            with gr.Tabs(selected="train", elem_id="tabs") as self.tabs:
                with gr.Tab("Train", id="train") as self.train_tab:
                    gr.HTML(_HELLO, apply_default_css=False, js_on_load="window.pointsmithHello(element);")
                    self.train = TrainPage(runs, data_dir / "uploads", access.check, access.room, access.owner)
                with gr.Tab("Data", id="data") as self.data_tab:
                    self.data = DataPage(data_dir, access)
                    with self.data.more:
                        self.uploads = UploadsPart(store, data_dir / "uploads", access)
                with gr.Tab("Runs", id="runs") as self.runs_tab:
                    self.runs = RunsPage(runs)
                    with self.runs.more:
                        self.share = SharePart(runs, access, pulled)
                with gr.Tab("Sweeps", id="sweep") as self.sweep_tab:
                    found = Sweeps(store, access.owner)
                    self.sweep = SweepPage(found, runs, lambda: self.data.known, access.check)
                with gr.Tab("Compare", id="compare") as self.compare_tab:
                    self.compare = ComparePage(runs, self.runs.watch)
                with gr.Tab("Predict", id="predict") as self.predict_tab:
                    everything = Shelves([RunShelf(runs), pulled, ExampleShelf()])
                    self.predict = PredictPage(everything, check=access.check_place)
                    self.gallery = Gallery(everything, pulled)
            self._wire()
            Api(runs, access.check, self.predict.predictor).offer()

    def _wire(self) -> None:
        train, runs, predict = self.train, self.runs, self.predict
        train.wire(self.draft)
        runs.wire()
        self.share.wire(runs.selected, runs.header.change)
        self.gallery.wire(self.predict_tab, self.blocks)
        predict.wire()
        self.data.wire()
        self.compare.wire()
        self.sweep.wire()
        state = [runs.selected, runs.sent]
        shown = [*runs.outputs, runs.sent, runs.selected]
        which = [predict.adapter, predict.folder]
        look = [*which, predict.viewer, predict.picture]
        loaded = self.blocks.load(self._arrive, None, [self.tabs, *shown, predict.adapter], **QUIET)
        loaded.then(predict.fit, [*which, predict.label], predict.fitted, **QUIET).then(
            predict.first, look, predict.shown, **QUIET
        )
        # Hundreds of inputs take the browser half a second to fill: only where there is something to fill in.
        self.blocks.load(train.open, self.draft, train.previewed, js=_KEPT, **QUIET).then(
            None,
            None,
            None,
            js="() => { if (window.pointsmithKept) document.querySelector('#restore').click(); }",
            **PRIVATE,
        )
        train.refill.click(train.restore, self.draft, [*train.inputs, *train.previewed], **QUIET)

        self.top.moved(self._moved, None, [self.tabs, *shown, predict.adapter], **QUIET)  # type: ignore[attr-defined]

        self._wire_data()
        self._wire_compare()
        self._wire_sweep()
        runs.remedies.remedy(self._remedy, state, [self.tabs, *shown, *train.inputs], **QUIET).then(  # type: ignore[attr-defined]
            None, runs.selected, None, js=address("run", push=True), **PRIVATE
        ).then(train.preview, train.inputs, train.previewed, **QUIET)

        begun = train.start.click(
            self._start, [runs.sent, train.name, *train.inputs], [train.problem, self.tabs, *shown], **QUIET
        )
        begun.then(None, runs.selected, None, js=_UNLESS_EMPTY, **PRIVATE)

        # The first tab also counts as selected when the page opens: that must not wipe the address before it is read.
        loaded.then(None, None, None, js="() => { window.pointsmithArrived = true; }", **PRIVATE)
        leave = f"() => {{ if (window.pointsmithArrived) ({address('run')})(''); }}"
        self.train_tab.select(None, None, None, js=leave, **PRIVATE)
        self.runs_tab.select(runs.refresh, state, shown, **QUIET).then(
            None, runs.selected, None, js=address("run"), **PRIVATE
        )
        opened = runs.predict.click(
            lambda one: (gr.Tabs(selected="predict"), predict.choose(one)),
            runs.selected,
            [self.tabs, predict.adapter],
            **QUIET,
        )
        opened.then(predict.fit, [*which, predict.label], predict.fitted, **QUIET).then(
            predict.sample, [*which, predict.label], predict.shown, **QUIET
        )
        self.predict_tab.select(predict.choose, predict.adapter, predict.adapter, **QUIET).then(
            predict.fit, [*which, predict.label], predict.fitted, **QUIET
        ).then(predict.first, look, predict.shown, **QUIET).then(
            None, predict.adapter, None, js=address("adapter"), **PRIVATE
        )

    def _wire_data(self) -> None:
        train, data = self.train, self.data
        self.blocks.load(self._open_data, None, data.shown, **QUIET)
        self.top.moved(self._moved_data, None, data.shown, **QUIET)  # type: ignore[attr-defined]
        self.uploads.wire()
        for seen in (self.data_tab.select, data.added.then):
            seen(self.uploads.shown, None, self.uploads.panel, **QUIET)
        self.data_tab.select(None, data.selected, None, js=address("data"), **PRIVATE)
        data.selected.change(None, data.selected, None, js=_UNLESS_EMPTY.replace("'run'", "'data'"), **PRIVATE)
        used = data.use.click(self._use, [data.checked, train.kinds["backbone"]], [self.tabs, *train.inputs], **QUIET)
        used.then(train.preview, train.inputs, train.previewed, **QUIET)

    def _wire_compare(self) -> None:
        compare = self.compare
        self.blocks.load(self._open_compare, None, compare.shown, **QUIET)
        self.top.moved(self._moved_compare, None, compare.shown, **QUIET)  # type: ignore[attr-defined]
        for begun in (
            self.runs.list.compare(self._compare_chosen, None, compare.shown, **QUIET),  # type: ignore[attr-defined]
            self.runs.compare.click(compare.open, self.runs.selected, compare.shown, **QUIET),
        ):
            # The tab comes last: when it opens, it asks for what the address names.
            begun.then(None, compare.named, None, js=address("compare", push=True), **PRIVATE).then(
                lambda: gr.Tabs(selected="compare"), None, self.tabs, **QUIET
            )
        self.compare_tab.select(
            compare.newest, compare.named, compare.shown, js=f"(named) => {_or_addressed('compare')}", **QUIET
        ).then(None, compare.named, None, js=address("compare"), **PRIVATE)

    def _wire_sweep(self) -> None:
        sweep, train, runs = self.sweep, self.train, self.runs
        state = [sweep.selected, sweep.sent]
        self.blocks.load(self._open_sweep, None, sweep.shown, **QUIET)
        self.top.moved(self._moved_sweep, None, sweep.shown, **QUIET)  # type: ignore[attr-defined]
        asked = f"(named, sent) => [{_or_addressed('sweep')}, sent]"
        self.sweep_tab.select(sweep.refresh, state, sweep.shown, js=asked, **QUIET).then(
            None, sweep.selected, None, js=address("sweep"), **PRIVATE
        ).then(sweep.look, sweep.inputs, sweep.planned, **QUIET)
        shown = [*runs.outputs, runs.sent, runs.selected]
        opened = sweep.table.run(self._open_of_sweep, runs.sent, [self.tabs, *shown], **QUIET)  # type: ignore[attr-defined]
        opened.then(None, runs.selected, None, js=address("run", push=True), **PRIVATE)
        train.sweep.click(self._sweep_over, train.inputs, [train.problem, self.tabs, sweep.common], **QUIET)

    def _open_sweep(self, request: gr.Request) -> list[Any]:
        return self.sweep.refresh(_named(request, "sweep"), {})

    def _moved_sweep(self, event: gr.EventData) -> list[Any]:
        return self.sweep.refresh(str(event.sweep), {})  # type: ignore[attr-defined]

    def _open_of_sweep(self, sent: dict[str, str], event: gr.EventData) -> list[Any]:
        return [gr.Tabs(selected="runs"), *self.runs.refresh(str(event.id), sent)]  # type: ignore[attr-defined]

    def _sweep_over(self, *values: Any) -> list[Any]:
        """Take the form's settings as what the runs of a new sweep have in common, and go there."""
        try:
            config = self.train.read(values)
        except UserError as error:
            return [pieces.notice("error", [str(error)]), gr.skip(), gr.skip()]
        return ["", gr.Tabs(selected="sweep"), config.to_yaml()]

    def _compare_chosen(self, event: gr.EventData) -> list[Any]:
        return self.compare.open(str(event.ids))  # type: ignore[attr-defined]

    def _open_compare(self, request: gr.Request) -> list[Any]:
        return self.compare.open(_named(request, "compare"))

    def _moved_compare(self, event: gr.EventData) -> list[Any]:
        return self.compare.open(str(event.compare))  # type: ignore[attr-defined]

    def _open_data(self, request: gr.Request) -> list[Any]:
        return self.data.pick(_named(request, "data"))

    def _moved_data(self, event: gr.EventData) -> list[Any]:
        return self.data.pick(str(event.data))  # type: ignore[attr-defined]

    def _use(self, checked: Checked | None, backbone: str) -> list[Any]:
        """Fill a checked data set into the form and go there."""
        if checked is None:
            raise gr.Error("Check the data set again first.", title="Data", print_exception=False)
        updates = handed(checked.config, self.train.form.settings, self.train.keys, backbone)
        return [gr.Tabs(selected="train"), *updates]

    def _arrive(self, request: gr.Request) -> list[Any]:
        """Open what the address names: `?run=`, `?adapter=`, `?data=`, `?compare=`, `?sweep=`; else the first tab."""
        otherwise = next((one for one in ("data", "compare", "sweep") if _named(request, one)), "train")
        tab, *rest = self._go(_named(request, "run"), _named(request, "adapter"), otherwise)
        # Without a name nothing is opened: whoever was quicker than this answer may be on another tab by now.
        return [tab if any(_named(request, one) for one in ADDRESSED) else gr.skip(), *rest]

    def _moved(self, event: gr.EventData) -> list[Any]:
        """Follow the browser's back and forward buttons, which change the address only."""
        otherwise = next((one for one in ("data", "compare", "sweep") if getattr(event, one)), "runs")
        return self._go(str(event.run), str(event.adapter), otherwise)  # type: ignore[attr-defined]

    def _go(self, run: str, adapter: str, otherwise: str) -> list[Any]:
        tab = "runs" if run else "predict" if adapter else otherwise
        return [gr.Tabs(selected=tab), *self.runs.refresh(run, {}), self.predict.choose(adapter)]

    def _remedy(self, selected: str, sent: dict[str, str], event: gr.EventData) -> list[Any]:
        """Start the run that may mend the shown one and go there, or fill its settings into the form."""
        same = [gr.skip()] * len(self.train.inputs)
        try:
            if event.key == "clone":  # type: ignore[attr-defined]
                filled = self.train.fill(parse_config(self.runs.store.get(selected).config))
                return [gr.Tabs(selected="train"), *self.runs.refresh("", sent), *filled]
            run = self.runs.mend(selected, str(event.key), self.train.check)  # type: ignore[attr-defined]
        except UserError as error:
            raise gr.Error(str(error), title="Run", print_exception=False) from error
        return [gr.skip(), *self.runs.refresh(run.id, sent), *same]

    def _start(self, sent: dict[str, str], name: str, *values: Any) -> list[Any]:
        """Queue the run of the form and go there, or say what does not fit and stay."""
        try:
            run = self.train.submit(name or "", *values)
        except UserError as error:
            stay = [gr.skip()] * (len(self.runs.outputs) + 3)
            return [pieces.notice("error", [str(error)]), *stay]
        return ["", gr.Tabs(selected="runs"), *self.runs.refresh(run.id, sent)]


def _named(request: gr.Request, key: str) -> str:
    return request.query_params.get(key) or ""


def _or_addressed(key: str) -> str:
    """Return JavaScript for `named`, or what the address names: a tab opens before what is in it has come."""
    return f"named || new URL(location).searchParams.get('{key}') || ''"


_RESTORE = "() => { if (window.pointsmithKept) document.querySelector('#restore').click(); }"
_KEPT = "(draft) => { window.pointsmithKept = Boolean(draft); return [draft]; }"
_UNLESS_EMPTY = f"(id) => {{ if (id) ({address('run', push=True)})(id); }}"
