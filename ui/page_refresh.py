"""The benchmark of the Runs tab: what one second of one open page costs the web process."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from ..core.bench.harness import Candidate, Cell, Options, Report, compare
from ..core.config import RunConfig
from ..core.events import Plan, Step
from ..worker.embedded_redis import EmbeddedRedis
from ..worker.store import RunStore
from .runs_page import RunsPage


def run(options: Options) -> Report:
    runs, lengths = (3, (50,)) if options.small else (200, (500, 20_000))
    table: list[list[Cell]] = []
    with tempfile.TemporaryDirectory(prefix="refresh-") as place, EmbeddedRedis(Path(place) / "redis") as server:
        store = RunStore(server.address.url, Path(place))
        try:
            config = RunConfig()
            ids = [store.create(config, name=f"run {i}").id for i in range(runs)]
            with gr.Blocks():
                page = RunsPage(store)
            table += _rows(page, f"list of {runs} runs", "", options)
            for run_id, steps in zip(ids, lengths):
                _train(store, run_id, steps)
                table += _rows(page, f"a run of {steps:,} steps", run_id, options)
        finally:
            store.close()
    columns = ("open is", "refresh", "least processor ms", "median", "bytes to the browser", "ratio of least")
    title = "one refresh of the Runs tab, in the web process"
    return Report("page_refresh", title, columns, table)


def _rows(page: RunsPage, label: str, selected: str, options: Options) -> list[list[Cell]]:
    sent: dict[str, str] = page.refresh(selected, {})[-2]
    found = compare(
        [
            Candidate("nothing new", partial(page.refresh, selected, sent)),
            Candidate("everything is sent", partial(page.refresh, selected, {})),
        ],
        rounds=max(3, options.rounds),
        group=5,
    )
    sizes = [_bytes(page.refresh(selected, before)) for before in (sent, {})]
    least = found[0].least_ms
    return [
        [label, one.name, one.least_ms, one.median_ms, size, one.least_ms / least]
        for one, size in zip(found, sizes, strict=True)
    ]


def _train(store: RunStore, run_id: str, steps: int) -> None:
    """Enter a trainer's events: its plan and `steps` steps."""
    claim = store.ledger.claim(run_id, "bench")
    assert claim is not None
    plan = Plan(
        trainable=1, total=2, adapter_bytes=4, classes=("a", "b"), train_clouds=20, validation_clouds=0, test_clouds=0,
        epochs=100, steps_per_epoch=max(1, steps // 100), device="cpu", precision="float32", noun="clouds",
        metric="accuracy", part_names=(),
    )  # fmt: skip
    lines = [plan.model_dump_json()]
    for step in range(1, steps + 1):
        event = Step(
            step=step, epoch=1, loss=2.3 / step, lr=4.9e-4, grad_norm=1.25, clouds_per_second=123.5, eta_seconds=60.0
        )
        lines.append(event.model_dump_json())
    told = {"step": steps, "steps": steps, "epoch": 1, "epochs": 100}
    for begin in range(0, len(lines), 500):
        entries = [(1, at + 1, lines[at]) for at in range(begin, min(begin + 500, len(lines)))]
        assert store.ledger.append(claim, entries, told, len(lines))


def _bytes(updates: list[Any]) -> int:
    return len(json.dumps([one for one in updates[:-2] if one and one != gr.skip()], default=str))
