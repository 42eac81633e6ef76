"""The benchmark of a refresh measures the real tab on a real store; an open run does without the list of runs."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from pointsmith.core.bench.harness import Options
from pointsmith.core.config import RunConfig
from pointsmith.ui.page_refresh import run
from pointsmith.ui.runs_page import RunsPage
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore


def test_what_did_not_change_is_not_sent() -> None:
    report = run(Options(rounds=1, small=True))
    sizes = {(row[0], row[1]): row[4] for row in report.rows}
    for label in ("list of 3 runs", "a run of 50 steps"):
        assert sizes[label, "nothing new"] < 10 < 1000 < sizes[label, "everything is sent"]  # type: ignore[operator]


def test_an_open_run_does_without_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        store = RunStore(server.address.url, tmp_path)
        try:
            made = store.create(RunConfig(), name="the run")
            with gr.Blocks():
                page = RunsPage(store)
            with monkeypatch.context() as patch:
                patch.setattr(store, "list", lambda *_: pytest.fail("the list was read"))
                *_, selected = page.refresh(made.id, {})
            assert selected == made.id
            assert "the run" in str(page.refresh("", {})[2])
            with pytest.warns(UserWarning):
                *_, selected = page.refresh("0" * 24, {})
            assert selected == ""
        finally:
            store.close()
