"""The Sweeps tab: plan many runs at once, see which they are before they are queued, and one table for all of them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ..core.bounded_text import read_yaml
from ..core.config import RunConfig, choices, parse_config
from ..core.errors import UserError
from ..core.recipes import recipe
from ..core.reread import plain
from ..core.training.sweep import MAX_RUNS, SweepPlan, expand, parse_plan, values_of
from ..worker.own_runs import OwnRuns
from ..worker.sweeps import AlreadyQueued, Sweeps
from . import pieces, sweep_view
from .data_sets import DataSets
from .events import PRIVATE, QUIET
from .form import PARTS, settings
from .review import check_files
from .runs_page import address

SHOWN = 50
_AXES = 3
"""So many settings can be varied at once on the page; a plan as YAML has no such limit."""

_OPEN = """
element.addEventListener('click', (event) => {
  const row = event.target.closest('[data-sweep], [data-run]');
  if (!row || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  if (row.dataset.sweep) trigger('open', {id: row.dataset.sweep});
  else trigger('run', {id: row.dataset.run});
});
"""


class SweepPage:
    """Builds the tab's components on construction; `wire` then connects them.

    `sets` gives the registered data sets of the visitor at hand, `check` refuses a run that names a forbidden place.
    """

    def __init__(
        self,
        sweeps: Sweeps,
        runs: OwnRuns,
        sets: Callable[[], DataSets],
        check: Callable[[RunConfig], None],
    ) -> None:
        self.sweeps, self.runs, self.sets, self._rules = sweeps, runs, sets, check
        # Texts, not States: the script that writes the address reads the one, the browser keeps the other.
        self.selected = gr.Textbox("", visible=False)
        self.common = gr.Textbox(recipe("demo").config().to_yaml(), visible=False)
        self.sent = gr.State({})
        with gr.Column(elem_classes="ps-page") as self.list_column:
            self._plan()
            gr.HTML("<h2>Sweeps</h2>", apply_default_css=False)
            self.list = pieces.panel("sweeps", "", _OPEN)
        with gr.Column(visible=False, elem_classes="ps-page") as self.one_column:
            self._one()
        self.timer = gr.Timer(2.0, active=False)
        self.shown: list[Any] = [
            self.list_column,
            self.one_column,
            self.list,
            self.header,
            self.table,
            self.exports,
            self.details,
            self.cancel,
            self.retry,
            self.delete,
            self.timer,
            self.sent,
            self.selected,
        ]

    def _plan(self) -> None:
        with gr.Group(elem_classes="ps-card", elem_id="new-sweep"):
            gr.HTML("<h2>New sweep</h2>", apply_default_css=False, elem_classes="ps-card-title")
            self.base = pieces.panel("sweep-base", _base_html(recipe("demo").config()))
            with gr.Row(elem_classes="ps-fields ps-wide"):
                self.methods = gr.Dropdown(
                    [(getattr(cls, "title", kind), kind) for kind, cls in choices("method").items()],
                    value=["dapt", "lora"],
                    multiselect=True,
                    label="Methods",
                    info="none: the common one",
                    elem_id="sweep-methods",
                )
                self.data = gr.Dropdown(
                    [("Demo objects", "demo")],
                    value=[],
                    multiselect=True,
                    label="Data",
                    info="checked sets of the Data tab; none: the common one",
                    elem_id="sweep-data",
                )
                self.seeds = gr.Textbox("0, 1, 2", label="Seeds", info="numbers with commas", elem_id="sweep-seeds")
            keys = _keys()
            self.axes: list[gr.components.Component] = []
            for number in range(_AXES):
                with gr.Row(elem_classes="ps-fields ps-wide"):
                    self.axes.append(
                        gr.Dropdown(
                            [("–", ""), *keys],
                            value=None,
                            label="Setting" if not number else None,
                            show_label=not number,
                            info="any setting of the form" if not number else None,
                            filterable=True,
                            elem_id=f"sweep-key-{number}",
                        )
                    )
                    self.axes.append(
                        gr.Textbox(
                            "",
                            label="Values" if not number else None,
                            show_label=not number,
                            info="with commas, e.g. 0.001, 0.0005" if not number else None,
                            placeholder="values with commas" if number else None,
                            max_lines=1,
                            elem_id=f"sweep-values-{number}",
                        )
                    )
            self.preview = pieces.panel("sweep-preview", "")
            with gr.Row(elem_classes="ps-fields ps-wide"):
                self.name = gr.Textbox(label="Name", placeholder="made from methods and data", max_lines=1)
            with gr.Row(elem_classes="ps-actions ps-sweep-go"):
                self.start = gr.Button("Queue the sweep", variant="primary", elem_id="start-sweep")
                self.upload = gr.UploadButton(
                    "Queue a plan from a file…", file_types=[".yaml", ".yml", ".json"], elem_id="sweep-file"
                )
        with gr.Accordion("Plan as YAML and command line", open=False, elem_classes="ps-card"):
            self.told = pieces.panel("sweep-plan", "", pieces.COPY_CODE)
        self.inputs: list[Any] = [self.common, self.methods, self.data, self.seeds, *self.axes]
        self.planned: list[Any] = [self.preview, self.told, self.base, self.data]

    def _one(self) -> None:
        self.back = gr.Button("← All sweeps", size="sm", elem_classes="ps-back", elem_id="back-to-sweeps")
        self.header = pieces.panel("sweep-header", "")
        with gr.Row(elem_classes="ps-actions"):
            self.exports = pieces.panel("sweep-exports", "")
            self.retry = gr.Button("Queue again what failed", visible=False, size="md", elem_id="retry-sweep")
            self.cancel = gr.Button("Cancel all", visible=False, size="md", elem_id="cancel-sweep")
            self.delete = gr.Button("Delete…", visible=False, size="md", elem_id="delete-sweep")
            self.sure = gr.Button("Yes, delete all its runs", variant="stop", visible=False, size="md")
            self.keep = gr.Button("Keep them", visible=False, size="md")
        self.table = pieces.panel("sweep-table", "", _OPEN)
        with gr.Accordion("LaTeX, command line and YAML", open=False, elem_classes="ps-card"):
            self.details = pieces.panel("sweep-details", "", pieces.COPY_CODE)

    def check(self, config: RunConfig) -> None:
        """Refuse a run whose files may not be named, or are not there. UserError."""
        self._rules(config)
        check_files(config)

    def read(self, common: str, methods: list[str], data: list[str], seeds: str, *axes: Any) -> SweepPlan:
        """Return the plan that the components describe; UserError says what does not fit."""
        grid: dict[str, list[Any]] = {}
        for key, values in zip(axes[::2], axes[1::2], strict=True):
            if key and key in grid:
                raise UserError("A setting is varied twice", got=key, remedy="Give all its values in one line")
            if key:
                grid[str(key)] = values_of(values or "")
            elif (values or "").strip():
                raise UserError("There are values without a setting", got=values, remedy="Choose the setting, too")
        numbers = values_of(seeds or "")
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in numbers):
            raise UserError("Seeds are whole numbers", got=seeds, expected="e.g. 0, 1, 2")
        known = {one.id: one for one in self.sets().list()}
        sets = [
            {"kind": "demo"} if one == "demo" else known[one].config for one in data or [] if one in (*known, "demo")
        ]
        run = read_yaml(common or "", name="The settings of all runs")
        content = {"run": run, "methods": methods or [], "seeds": numbers, "grid": grid}
        return parse_plan({**content, "data": sets}, "The sweep")

    def look(self, *values: Any) -> list[Any]:
        """Return an update for each of `planned`: what the plan would become."""
        offered: Any = gr.skip()
        try:
            offered = gr.update(
                choices=[("Demo objects", "demo"), *((one.title, one.id) for one in self.sets().list())]
            )
            plan = self.read(*values)
            base = _base_html(parse_config(plan.run))
            return [sweep_view.preview(expand(plan, self.check)), sweep_view.plan_told(plan), base, offered]
        except UserError as error:
            return [pieces.notice("error", [str(error)]), "", gr.skip(), offered]

    def view(self, selected: str, sent: dict[str, str]) -> list[Any]:
        """Return an update for each of `shown`; what did not change is skipped."""
        now = time.time()
        sweep = None
        if selected:
            try:
                sweep = self.sweeps.get(selected)
            except UserError as error:
                gr.Warning(str(error), title="Sweep")
                selected = ""
        found = self.sweeps.list(SHOWN) if sweep is None else []
        active = sweep.active if sweep else any(one.active for one in found)
        again = bool(sweep and (sweep.failed or sweep.missing))
        values: list[tuple[str, Any]] = [
            ("visible", sweep is None),
            ("visible", sweep is not None),
            ("value", sweep_view.sweep_list(found, now) if sweep is None else ""),
            ("value", sweep_view.header(sweep, self.runs.workers(), now) if sweep else ""),
            ("value", sweep_view.table(sweep.outcomes) if sweep else ""),
            ("value", sweep_view.exports(sweep) if sweep else ""),
            ("value", sweep_view.details(sweep) if sweep else ""),
            ("visible", bool(sweep and sweep.active)),
            ("visible", again and not (sweep and sweep.active)),
            ("visible", bool(sweep and not sweep.active)),
            ("active", active),
        ]
        updates: list[Any] = []
        fresh: dict[str, str] = {}
        for index, (what, value) in enumerate(values):
            digest = hashlib.md5(json.dumps(value).encode(), usedforsecurity=False).hexdigest()
            fresh[str(index)] = digest
            same = sent.get(str(index)) == digest
            changed = gr.Timer(active=value) if what == "active" else gr.update(**{what: value})
            updates.append(gr.skip() if same else changed)
        return [*updates, fresh, selected]

    def refresh(self, selected: str, sent: dict[str, str]) -> list[Any]:
        """`view` for events: a store that does not answer becomes a message on the page."""
        try:
            return self.view(selected, sent)
        except UserError as error:
            raise gr.Error(str(error), title="Sweeps", print_exception=False) from error

    def _start(self, sent: dict[str, str], name: str, *values: Any) -> list[Any]:
        try:
            made = self.sweeps.start(self.read(*values), name=name or "", check=self.check)
        except AlreadyQueued as error:
            gr.Warning(str(error), title="Sweep")
            made = error.sweep_id
        except UserError as error:
            return [pieces.notice("error", [str(error)]), *[gr.skip()] * len(self.shown)]
        return [gr.skip(), *self.refresh(made, sent)]

    def _start_file(self, sent: dict[str, str], file: str) -> list[Any]:
        """Queue the plan in an uploaded file."""
        try:
            path = Path(file)
            made = self.sweeps.start(parse_plan(plain(path), path.name), check=self.check)
        except UserError as error:
            return [pieces.notice("error", [str(error)]), *[gr.skip()] * len(self.shown)]
        return ["", *self.refresh(made, sent)]

    def _open(self, sent: dict[str, str], event: gr.EventData) -> list[Any]:
        return self.refresh(str(event.id), sent)  # type: ignore[attr-defined]

    def _act(self, act: str, selected: str, sent: dict[str, str]) -> list[Any]:
        try:
            if act == "cancel":
                gr.Info(f"{self.sweeps.cancel(selected)} runs cancelled.", title="Sweep")
            elif act == "retry":
                gr.Info(f"{self.sweeps.retry(selected, check=self.check)} runs queued again.", title="Sweep")
            elif act == "delete":
                self.sweeps.delete(selected)
                selected = ""
        except UserError as error:
            gr.Warning(str(error), title="Sweep")
        return self.refresh(selected, sent)

    def wire(self) -> None:
        """Connect what happens inside this tab; runs are opened by the page, which knows the other tabs."""
        write = {"js": address("sweep", push=True), **PRIVATE}
        state = [self.selected, self.sent]
        typed = [one.change if isinstance(one, gr.Textbox) else one.input for one in self.inputs]
        gr.on(typed, self.look, self.inputs, self.planned, trigger_mode="always_last", **QUIET)
        self.timer.tick(self.refresh, state, self.shown, **QUIET)
        begun = self.start.click(
            self._start, [self.sent, self.name, *self.inputs], [self.preview, *self.shown], **QUIET
        )
        filed = self.upload.upload(self._start_file, [self.sent, self.upload], [self.preview, *self.shown], **QUIET)
        for event in (begun, filed):
            event.then(None, self.selected, None, **write)
        self.list.open(self._open, self.sent, self.shown, **QUIET).then(None, self.selected, None, **write)  # type: ignore[attr-defined]
        self.back.click(lambda sent: self.refresh("", sent), self.sent, self.shown, **QUIET).then(
            None, self.selected, None, **write
        )
        for button, act in ((self.cancel, "cancel"), (self.retry, "retry")):
            button.click(lambda one, sent, act=act: self._act(act, one, sent), state, self.shown, **QUIET)
        asking = [self.sure, self.keep]
        self.delete.click(lambda: [gr.update(visible=True)] * 2, None, asking, **QUIET)
        gr.on([self.keep.click, self.sure.click], lambda: [gr.update(visible=False)] * 2, None, asking, **QUIET)
        self.sure.click(lambda one, sent: self._act("delete", one, sent), state, self.shown, **QUIET).then(
            None, self.selected, None, **write
        )


def _keys() -> list[tuple[str, str]]:
    """Return (words, dotted name) of every setting that can be varied, the parts' once for all their kinds."""
    found: dict[str, str] = {}
    for one in settings():
        key = ".".join(step for step in (one.part, *one.path) if step)
        if key != "seed":
            found.setdefault(key, one.label)
    order = sorted(found, key=lambda key: (key.split(".")[0] in PARTS, key.split(".")[0] == "backbone"))
    return [(f"{key} · {found[key].lower()}", key) for key in order]


def _base_html(config: RunConfig) -> str:
    told = (
        f"In common: {config.method.kind} on {config.data.kind}, backbone {config.backbone.kind}, {config.epochs} "
        f"epochs, learning rate {config.optim.lr:g}. To change that: “Sweep over these settings” under Train. "
        f"At most {MAX_RUNS} runs."
    )
    return f'<p class="ps-about">{told}</p>'
