"""What is asked of a finished run: the inputs behind a number, the routing of one input, a map of features."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from ..core.config import parse_config
from ..core.data.clouds import Clouds
from ..core.data.dataset import Split
from ..core.data.images import Images
from ..core.data.thumbnail import cloud_picture
from ..core.durable import write_synced
from ..core.errors import UserError
from ..core.explain import explain
from ..core.features import FeatureMap, feature_map
from ..core.training.answers import FILE, read_answers
from ..worker.own_runs import OwnRuns
from ..worker.run import Run
from ..worker.store import RunStore
from . import pieces
from .events import PRIVATE, QUIET
from .loaded import Adapters
from .routing_view import data_url, explain_panel, explained_value
from .samples import Samples
from .shelf import RunShelf
from .viewer import TEMPLATE, payload

MOST = 12
"""Inputs of one cell of the confusion matrix that are shown at once."""
EXPLAINED = ("adapter-x", "adaptformer-x", "dapt-x", "dapt")
"""Methods that decide something for each patch."""
_POINTS = 2048
_ANY = "any class"
_MAP = "feature-map.json"
_CELL = """
element.addEventListener('click', (event) => {
  const on = event.target.closest('[data-cell]');
  if (on) { const [truth, answer] = on.dataset.cell.split(',').map(Number); trigger('cell', {truth, answer}); }
});
"""


class RunParts:
    """Builds the sections on construction; `wire` connects them to the page's chosen run and its results."""

    def __init__(self, store: RunStore | OwnRuns) -> None:
        self.store, self.samples = store, Samples()
        self.adapters = Adapters(RunShelf(store), keep=1)
        self.strip = gr.HTML(
            None,
            html_template=f'<div class="ps-strip" hidden><div class="ps-strip-bar"><h3></h3></div>'
            f'<div class="ps-strip-view">{TEMPLATE}<img class="ps-strip-image" alt="" hidden></div>'
            '<div class="ps-grid-of-inputs" role="list"></div></div>',
            js_on_load="window.pointsmithStrip(element, props, watch);",
            elem_id="cell",
            apply_default_css=False,
        )
        with gr.Column(visible=False, elem_classes="ps-page", elem_id="explain-box") as self.routing_box:
            gr.HTML("<h2>Routing of one input</h2>", apply_default_css=False)
            with gr.Row(elem_classes="ps-actions"):
                self.label = gr.Dropdown(
                    [_ANY], value=_ANY, label="Class", interactive=True, filterable=False, elem_id="explain-class"
                )
                self.look = gr.Button("Show a test input", size="md", elem_id="explain-look")
            self.said = pieces.panel("explain-said")
            self.explained = explain_panel()
        with gr.Column(visible=False, elem_classes="ps-page") as self.map_box:
            gr.HTML("<h2>Features before and after tuning</h2>", apply_default_css=False)
            with gr.Row(elem_classes="ps-actions"):
                self.map = gr.Button("Show feature map", size="md", elem_id="map-look")
            self.map_said = pieces.panel("map-said")
            self.mapped = gr.HTML(
                None,
                html_template='<div class="ps-maps" hidden></div>',
                js_on_load="window.pointsmithMaps(element, props, watch);",
                elem_id="map",
                apply_default_css=False,
            )
        self.timed: list[Any] = [self.routing_box, self.map_box, self.label]
        self.cleared: list[Any] = [self.strip, self.explained, self.said, self.mapped, self.map_said]

    def values(self, run: Run | None, classes: list[str]) -> list[tuple[str, Any]]:
        """Return what each of `timed` shows of a run now, as (property, value)."""
        done = run is not None and run.state == "succeeded"
        kind = str((run.config.get("method") or {}).get("kind")) if run else ""
        return [
            ("visible", done and kind in EXPLAINED),
            ("visible", done),
            ("choices", [_ANY, *classes]),
        ]

    def cell(self, run_id: str, event: gr.EventData) -> Any:
        """Return the inputs of the clicked cell of the confusion matrix."""
        try:
            return self.inputs_of(run_id, int(event.truth), int(event.answer))  # type: ignore[attr-defined]
        except UserError as error:
            raise gr.Error(str(error), title="Run", print_exception=False) from error

    def inputs_of(self, run_id: str, truth: int, answer: int) -> dict[str, Any]:
        """Return up to `MOST` inputs of class `truth` that a run called `answer`. UserError where that is not known."""
        run = self.store.get(run_id)
        config = parse_config(run.config)
        known = read_answers(self.store.bring(run, FILE))
        split = "test" if "test" in known else "validation"
        dataset, part = self.samples.part(config, split)
        answers = read_answers(self.store.bring(run, FILE), dataset.fingerprint)[split]
        found = answers.called(truth, answer)
        is_so, called = dataset.classes[truth], dataset.classes[answer]
        how = "rightly called" if truth == answer else "called"
        count = f"{len(found)} × " if len(found) <= MOST else f"{MOST} of {len(found)} × "
        return {
            "title": f"{count}{is_so} {how} {called} ({split})",
            "items": [_item(part, int(i)) for i in found[:MOST]],
        }

    def explain(self, run_id: str, label: str | None) -> list[Any]:
        """Return the explained test input of a class, and what is said of it."""
        try:
            chosen = self.adapters.get(run_id)
            drawn = self.samples.draw(chosen.run, None if label == _ANY else label)
            found = explain(
                chosen.predictor,
                drawn.given,
                category=drawn.truth if chosen.predictor.answers == "parts" else None,
                name=drawn.name,
            )
        except UserError as error:
            return [None, pieces.notice("error", [str(error)])]
        value = explained_value(found, drawn.name, drawn.truth)
        right = value["label"] == drawn.truth
        verdict = pieces.chip("succeeded" if right else "failed", "correct" if right else f"it is: {drawn.truth}")
        said = f'<p class="ps-quiet">{escape(drawn.name)}, answered <b>{escape(value["label"])}</b> {verdict}</p>'
        return [value, said]

    def feature_map(self, run_id: str) -> list[Any]:
        """Return the feature maps of a run, made once and kept in its folder, and what is said of them."""
        try:
            run = self.store.get(run_id)
            place = run.folder / _MAP
            if not place.is_file():
                chosen = self.adapters.get(run_id)
                config = parse_config(run.config)
                split = "test" if (run.result or {}).get("test_accuracy") is not None else "validation"
                dataset, part = self.samples.part(config, split)
                made = _map_value(feature_map(chosen.predictor, config, part), dataset.classes, part, split)
                place.parent.mkdir(parents=True, exist_ok=True)
                write_synced(place, json.dumps(made, separators=(",", ":")).encode())
            value = json.loads(place.read_text())
        except UserError as error:
            return [None, pieces.notice("error", [str(error)])]
        said = (
            f"t-SNE of what the head reads of {value['count']} {value['split']} inputs. The nearest neighbour of "
            f"{pieces.percent(value['agree'][0])} is of the same class before tuning, of "
            f"{pieces.percent(value['agree'][1])} after."
        )
        return [value, f'<p class="ps-quiet">{escape(said)}</p>']

    def wire(self, selected: gr.Textbox, results: gr.HTML) -> None:
        """Connect the sections to the run that is shown."""
        slow: dict[str, Any] = PRIVATE | {"concurrency_id": "ask-run", "concurrency_limit": 2}
        results.cell(  # type: ignore[attr-defined]
            self.cell, selected, self.strip, show_progress="minimal", show_progress_on=results, **slow
        )
        asked = [selected, self.label]
        on = {"show_progress": "minimal", "show_progress_on": self.said}
        gr.on([self.look.click, self.label.input], self.explain, asked, [self.explained, self.said], **on, **slow)
        on = {"show_progress": "full", "show_progress_on": self.map_said}
        self.map.click(self.feature_map, selected, [self.mapped, self.map_said], **on, **slow)
        selected.change(lambda: [None, None, "", None, ""], None, self.cleared, **QUIET)


CELL_CLICKED = _CELL


def _item(part: Split, index: int) -> dict[str, Any]:
    name = part.names[index] if index < len(part.names) else f"input {index + 1}"
    if isinstance(part, Images):
        return {"name": name, "picture": data_url(part.square(index)), "thumb": data_url(part.square(index))}
    assert isinstance(part, Clouds)
    points = part.points[index]
    few = points[np.linspace(0, len(points) - 1, min(_POINTS, len(points))).astype(np.int64)]
    return {"name": name, "view": payload(few, len(points)), "thumb": cloud_picture(few)}


def _map_value(found: FeatureMap, classes: tuple[str, ...], part: Split, split: str) -> dict[str, Any]:
    names = [part.names[i] if i < len(part.names) else "" for i in found.index]
    return {
        "classes": list(classes),
        "labels": found.labels.tolist(),
        "names": names,
        "before": found.before.round(2).tolist(),
        "after": found.after.round(2).tolist(),
        "agree": [found.agree_before, found.agree_after],
        "count": len(found.labels),
        "split": split,
    }
