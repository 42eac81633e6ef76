"""The review's numbers, the path's marks, and the views of sweeps, without a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.data.load import load
from pointsmith.core.errors import UserError
from pointsmith.core.training.sweep import Outcome, expand, parse_plan
from pointsmith.ui import sweep_view
from pointsmith.ui.measured import measured
from pointsmith.ui.path_bar import path, step_of
from pointsmith.ui.review import amounts, check_files, warnings
from pointsmith.ui.train_page import TrainPage
from pointsmith.worker.store import RunStore

from tests.support.tiny import tiny_run


@pytest.mark.parametrize("validation", [0.0, 0.1, 0.25])
def test_amounts_are_those_of_the_data(validation: float) -> None:
    data = {"kind": "demo", "train_per_class": 6, "test_per_class": 2, "validation": validation}
    run = parse_config({"data": data, "epochs": 3, "batch_size": 8, "select": "last"})
    told = dict(amounts(run))
    train = len(load(run.data).train)
    assert told["Learns from"] == f"{train} clouds + 30 to test"
    assert told["Steps"] == str(train // 8 * 3)


def refused(content: dict[str, Any]) -> UserError:
    with pytest.raises(UserError) as error:
        check_files(parse_config(content, "The form"))
    return error.value


@pytest.mark.parametrize(
    ("content", "step"),
    [
        ({"data": {"kind": "folder"}}, "data"),
        ({"data": {"kind": "folder", "path": "/none"}}, "data"),
        ({"backbone": {"kind": "own", "weights": "/none.pth"}}, "backbone"),
        ({"backbone": {"kind": "demo", "groups": 0}}, "backbone"),
        ({"method": {"kind": "dapt", "rank": 0}}, "method"),
        ({"epochs": 0}, "recipe"),
        ({"optim": {"lr": -1}}, "recipe"),
    ],
)
def test_a_refusal_is_marked_on_its_step(content: dict[str, Any], step: str) -> None:
    assert step_of(refused(content)) == step
    assert path({}, step).count("does not fit yet") == 1


def test_warnings_of_a_short_run() -> None:
    run = RunConfig(epochs=1)
    assert any("never reaches its peak" in said for said in warnings(run))


@pytest.mark.slow
def test_memory_and_time_are_measured() -> None:
    told = measured(tiny_run(epochs=2))
    assert "Peak memory on" in told and "Time of a step" in told and "Measured in dry steps" in told


def test_a_sweep_s_table_shows_every_run_and_escapes() -> None:
    at = {"method": "<b>", "data": "demo"}
    runs = [
        Outcome(at={**at, "seed": 0}, state="succeeded", run="a" * 24, test=0.5, trainable=10, seconds=3, memory=10**9),
        Outcome(at={**at, "seed": 1}, state="failed", run="b" * 24, error='say "no"'),
    ]
    told = sweep_view.table(runs)
    assert told.count("data-run=") == 2 and "<b>50.0 %</b>" in told and "&lt;b&gt;" in told
    assert "seed 1: failed, say &quot;no&quot;" in told


def test_a_preview_counts_runs_and_names_reasons_once() -> None:
    told = sweep_view.preview(expand(parse_plan({"grid": {"method.rank": [4, 8.5]}, "seeds": [0, 1, 2]})))
    assert "<b>3 runs</b>" in told and told.count("does not fit") == 1
    assert "will be queued" not in sweep_view.preview(expand(parse_plan({"grid": {"method.nothing": [4]}})))


def test_the_form_opens_with_its_preview_or_with_what_the_browser_kept(store: RunStore, tmp_path: Path) -> None:
    with gr.Blocks():
        page, draft = TrainPage(store, tmp_path), gr.BrowserState()
        page.wire(draft)
    count, nothing = len(page.inputs), gr.skip()
    opened = page.open(None)
    assert "Trainable parameters" in opened[0] and opened[1] == ""
    kept = json.loads(opened[page.previewed.index(draft)])
    assert page.open(json.dumps(kept)) == [nothing] * len(page.previewed)
    kept |= {"epochs": 7, "method": "lora"}
    filled = page.restore(json.dumps(kept))
    assert filled[:count] == list(kept.values())
    assert "--method lora" in filled[count + 2] and "--epochs 7" in filled[count + 2]
    for useless in (None, "{", "[]", json.dumps({"epochs": 7}), json.dumps(kept | {"method": "gone"})):
        assert page.restore(useless) == [*[nothing] * count, *opened]
