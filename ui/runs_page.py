"""The Runs tab: the list, and one run that is an address. It only looks; the worker does the work."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from ..core.config import RunConfig
from ..core.errors import UserError
from ..worker.own_runs import OwnRuns
from ..worker.run import FINAL, Run
from ..worker.store import RunStore
from . import pieces, routing_view, run_view
from .address import address
from .curves import Seen, Watch, charts
from .events import PRIVATE, QUIET
from .remedies import RESUME, changed, remedies
from .run_parts import CELL_CLICKED, RunParts

SHOWN = 200
LOG_LINES = 60

_OPEN_RUN = """
element.addEventListener('click', (event) => {
  const row = event.target.closest('[data-run]');
  if (!row || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  trigger('open', {id: row.dataset.run});
});
"""

_CHOOSE = """
const chosen = new Set();
const show = () => {
  for (const one of element.querySelectorAll('[data-choose]')) one.checked = chosen.has(one.dataset.choose);
  const bar = element.querySelector('.ps-chosen'), link = bar?.querySelector('a');
  if (!link) return;
  bar.classList.toggle('ps-some', chosen.size > 0);
  link.textContent = chosen.size > 1 ? `Compare ${chosen.size} runs` : 'Compare: tick one more';
  link.href = '?compare=' + [...chosen].join(',');
};
element.addEventListener('change', (event) => {
  const id = event.target.dataset.choose;
  if (!id) return;
  if (event.target.checked) chosen.add(id); else chosen.delete(id);
  show();
});
element.addEventListener('click', (event) => {
  const link = event.target.closest('[data-compare]');
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  trigger('compare', {ids: [...chosen].join(',')});
});
watch('value', () => {
  const there = new Set([...element.querySelectorAll('[data-choose]')].map((one) => one.dataset.choose));
  if (there.size) for (const one of chosen) if (!there.has(one)) chosen.delete(one);
  show();
});
"""

_UNDO = """
element.addEventListener('click', (event) => {
  const on = event.target.closest('[data-undo]');
  if (on && !on.disabled) { on.disabled = true; trigger('undo', {id: on.dataset.undo}); }
});
"""

_MEND = """
element.addEventListener('click', (event) => {
  const on = event.target.closest('[data-remedy]');
  if (on && !on.disabled) { on.disabled = true; trigger('remedy', {key: on.dataset.remedy}); }
});
"""

_LOG_TO_END = """
const toEnd = () => { const log = element.querySelector('.ps-log'); if (log) log.scrollTop = log.scrollHeight; };
let atEnd = true;
element.addEventListener('scroll', (event) => {
  const log = event.target; atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 24;
}, true);
watch('value', () => { if (atEnd) toEnd(); });
toEnd();
"""


class RunsPage:
    """Builds the tab's components on construction; `wire` then connects them."""

    def __init__(self, store: RunStore | OwnRuns) -> None:
        self.store, self.watch = store, Watch(store)
        # A text, not a State: the scripts that write the address read it in the browser.
        self.selected = gr.Textbox("", visible=False)
        self.sent = gr.State({})
        with gr.Column(elem_classes="ps-page") as self.list_column:
            gr.HTML("<h2>Runs</h2>", apply_default_css=False)
            self.bin = pieces.panel("bin", "", _UNDO)
            self.list = pieces.panel("runs", "", _OPEN_RUN + _CHOOSE)
            self.workers = pieces.panel("workers", "", _OPEN_RUN)
        with gr.Column(visible=False, elem_classes="ps-page") as self.run_column:
            self.back = gr.Button("← All runs", size="sm", elem_classes="ps-back", elem_id="back")
            self.header = pieces.panel("run-header", "", pieces.COPY_CODE + _UNDO)
            small: dict[str, Any] = {"size": "md", "visible": False}
            with gr.Row(elem_classes="ps-actions"):
                self.remedies = pieces.panel("remedies", "", _MEND + pieces.COPY_CODE)
                self.predict = gr.Button(
                    "Open in Predict", variant="primary", size="md", visible=False, elem_id="open-predict"
                )
                self.download = pieces.panel("download", "")
                self.compare = gr.Button("Compare with others", size="md", elem_id="to-compare")
                self.cancel = gr.Button("Cancel the run", elem_id="cancel", **small)
                self.delete = gr.Button("Delete", elem_id="delete", **small)
            self.charts = gr.HTML(
                None,
                html_template='<div class="ps-charts"></div>',
                js_on_load="window.pointsmithCharts(element, props, watch);",
                elem_id="charts",
                apply_default_css=False,
            )
            self.routing = routing_view.live_panel()
            self.results = pieces.panel("results", "", CELL_CLICKED)
            self.more = gr.Column()  # for what other parts of the page add to a run
            self.parts = RunParts(store)
            with gr.Accordion("Name, note and tags", open=False, elem_id="label-box", elem_classes="ps-card"):
                with gr.Row():
                    shown: dict[str, Any] = {"interactive": True, "max_lines": 1}
                    self.name = gr.Textbox(label="Name", elem_id="label-name", **shown)
                    self.tags = gr.Textbox(label="Tags, with commas between", elem_id="label-tags", **shown)
                self.note = gr.Textbox(label="Note", lines=2, interactive=True, elem_id="label-note")
                self.save = gr.Button("Save", size="md", elem_id="label-save")
            with gr.Accordion("Log", open=False, elem_id="log-box", elem_classes="ps-card"):
                self.log = pieces.panel("log", "", _LOG_TO_END)
            with gr.Accordion("Command line and YAML", open=False, elem_classes="ps-card"):
                self.recipe = pieces.panel("run-recipe", "", pieces.COPY_CODE)
        self.timer = gr.Timer(1.0, active=False)
        self.outputs: list[Any] = [
            self.list_column,
            self.run_column,
            self.list,
            self.header,
            self.charts,
            self.results,
            self.log,
            self.recipe,
            self.predict,
            self.download,
            self.cancel,
            self.delete,
            self.workers,
            self.remedies,
            self.routing,
            self.bin,
            *self.parts.timed,
            self.timer,
        ]

    def view(self, selected: str, sent: dict[str, str]) -> list[Any]:
        """Return an update for each of `outputs`, what was sent, and the selected id; what did not change is skipped.

        An id that is gone leads back to the list, with a message.
        """
        now = time.time()
        run = None
        if selected:
            try:
                run = self.store.get(selected)
            except UserError as error:
                gr.Warning(str(error), title="Run")
                selected = ""
        # While one run is open nobody sees the list; reading it would be most of a refresh.
        runs, workers = self.store.list(SHOWN) if run is None else [run], self.store.workers()
        active = any(one.state not in FINAL for one in runs)
        seen = self.watch.of(run.id) if run else None
        values: list[tuple[str, Any]] = [
            ("visible", run is None),
            ("visible", run is not None),
            ("value", run_view.run_list(runs, workers, now) if run is None else ""),
            *(self._run(run, seen, workers, now) if run and seen else [("value", None)] * 5 + [("visible", False)] * 4),
            ("value", run_view.worker_list(workers, runs, now) if run is None else ""),
            ("value", run_view.remedies(run, remedies(run)) if run else ""),
            ("value", _routing(run, seen) if run and seen else None),
            ("value", run_view.undo(self.store.discarded(), now) if run is None else ""),
            *self.parts.values(run, _classes(seen)),
            ("active", active),
        ]
        values[9] = ("value", _download(run))
        updates: list[Any] = []
        fresh: dict[str, str] = {}
        for index, (what, value) in enumerate(values):
            digest = hashlib.md5(json.dumps(value).encode(), usedforsecurity=False).hexdigest()
            fresh[str(index)] = digest
            updates.append(gr.skip() if sent.get(str(index)) == digest else _update(what, value))
        return [*updates, fresh, selected]

    def _run(self, run: Run, seen: Seen, workers: Any, now: float) -> list[tuple[str, Any]]:
        epochs = (seen.plan or {}).get("epochs") or run.config.get("epochs") or 1
        ended = run.state in FINAL

        def drawn() -> Any:
            return seen.once("charts", (run.id, epochs), lambda: charts(run.id, seen, epochs))

        return [
            ("value", run_view.header(run, seen, workers, now)),
            ("value", drawn() if seen.steps or not ended else None),
            ("value", run_view.results(seen)),
            ("value", run_view.log(self.store.log(run.id, LOG_LINES), run.state)),
            ("value", run_view.recipe(run.config)),
            ("visible", run.state == "succeeded"),
            ("visible", run.state == "succeeded"),
            ("visible", not ended and not run.cancelling),
            ("visible", run.state != "running" and run.discarded is None),
        ]

    def refresh(self, selected: str, sent: dict[str, str]) -> list[Any]:
        """`view` for events: a store that does not answer becomes a message on the page."""
        try:
            return self.view(selected, sent)
        except UserError as error:
            raise gr.Error(str(error), title="Runs", print_exception=False) from error

    def _open(self, sent: dict[str, str], event: gr.EventData) -> list[Any]:
        return self.refresh(str(event.id), sent)  # type: ignore[attr-defined]

    def _act(self, act: str, selected: str, sent: dict[str, str]) -> list[Any]:
        try:
            if act == "cancel":
                self.store.cancel(selected)
            elif act == "delete":
                self.store.discard(selected)
                selected = ""
        except UserError as error:
            gr.Warning(str(error), title="Runs")
        return self.refresh(selected, sent)

    def _undo(self, selected: str, sent: dict[str, str], event: gr.EventData) -> list[Any]:
        try:
            run = self.store.restore(str(event.id))  # type: ignore[attr-defined]
        except UserError as error:
            gr.Warning(str(error), title="Runs")
            return self.refresh(selected, sent)
        gr.Info(f"{run.name} is back.", title="Runs")
        return self.refresh(selected, sent)

    def _labels(self, selected: str) -> list[Any]:
        try:
            run = self.store.get(selected) if selected else None
        except UserError:
            run = None
        return [run.name, run.note, ", ".join(run.tags)] if run else ["", "", ""]

    def _label(self, selected: str, sent: dict[str, str], name: str, note: str, tags: str) -> list[Any]:
        try:
            self.store.label(selected, name=name, note=note, tags=tags.split(","))
            gr.Info("Saved.", title="Run")
        except UserError as error:
            gr.Warning(str(error), title="Run")
        return self.refresh(selected, sent)

    def mend(self, selected: str, key: str, check: Callable[[RunConfig], None]) -> Run:
        """Queue the run that a remedy asks for; `check` is what the page's rules say of it. UserError."""
        run = self.store.get(selected)
        remedy = next((one for one in remedies(run) if one.key == key), None)
        if remedy is None:
            raise UserError("This does not fit the run any more", remedy="Reload the page")
        config = changed(run, remedy)
        check(config)
        name = f"{run.name}, {remedy.label.lower()}"[:120]
        if remedy is RESUME:
            return self.store.create(run.config, name=name, needs=run.needs, after=run)
        return self.store.create(config, name=name, needs=run.needs)

    def wire(self) -> None:
        """Connect what happens inside this tab."""
        state = [self.selected, self.sent]
        shown = [*self.outputs, self.sent, self.selected]
        self.timer.tick(self.refresh, state, shown, **QUIET)
        for table in (self.list, self.workers):
            table.open(self._open, self.sent, shown, **QUIET).then(  # type: ignore[attr-defined]
                None, self.selected, None, js=address("run", push=True), **PRIVATE
            )
        self.bin.undo(self._undo, state, shown, **QUIET)  # type: ignore[attr-defined]
        self.header.undo(self._undo, state, shown, **QUIET)  # type: ignore[attr-defined]
        self.selected.change(self._labels, self.selected, [self.name, self.note, self.tags], **QUIET)
        self.save.click(self._label, [*state, self.name, self.note, self.tags], shown, **QUIET)
        self.parts.wire(self.selected, self.results)
        self.back.click(lambda sent: self.refresh("", sent), self.sent, shown, **QUIET).then(
            None, self.selected, None, js=address("run", push=True), **PRIVATE
        )
        self.cancel.click(lambda one, sent: self._act("cancel", one, sent), state, shown, **QUIET)
        self.delete.click(lambda one, sent: self._act("delete", one, sent), state, shown, **QUIET).then(
            None, self.selected, None, js=address("run"), **PRIVATE
        )


def _update(what: str, value: Any) -> Any:
    return gr.Timer(active=value) if what == "active" else gr.update(**{what: value})


def _routing(run: Run, seen: Seen) -> Any:
    return seen.once("routing", run.id, lambda: routing_view.live_value(run.id, seen))


def _classes(seen: Seen | None) -> list[str]:
    plan = seen.plan if seen else None
    return [str(name) for name in (plan or {}).get("classes", ())]


def _download(run: Run | None) -> str:
    if run is None or run.state != "succeeded":
        return ""
    return f'<a class="ps-button" href="export/{run.id}.zip" download>Download adapter</a>'
