"""`pointsmith sweep`: the preview, real runs one after another, resuming, and a queue that takes the same plan."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import yaml
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore

from tests.support.cli import SIZES, Call

RUN = [
    *("--backbone", "own", *(word for key, value in SIZES.items() for word in ("--set", f"backbone.{key}={value}"))),
    *("--set", "backbone.weights=random", "--set", "head.hidden=16", "--set", "data.preparation.points=64"),
    *("--set", "select=last", "--epochs", "1", "--batch-size", "8"),
]


def test_preview_names_the_runs_and_what_is_none(call: Call) -> None:
    result = call("sweep", "--methods", "dapt,probe", "--seeds", "0-2", "--grid", "method.rank=4,8", "--dry-run")
    assert result.exit_code == 0
    assert "dapt on demo, method.rank 4, seed 0" in result.stdout and "6 runs" in result.stdout
    assert "Left out: probe on demo, method.rank 4" in result.stderr and "unknown key method.rank" in result.stderr
    assert not list(Path().iterdir())


def test_runs_one_after_another_with_tables_and_resumes(call: Call, shapes: Path) -> None:
    words = ["sweep", *RUN, "--data", shapes, "--methods", "probe,bitfit", "--seeds", "0,1", "--device", "cpu"]
    result = call(*words, "--out", "s", "--format", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [(one["at"]["method"], one["at"]["seed"], one["state"]) for one in found] == [
        (method, seed, "succeeded") for method in ("probe", "bitfit") for seed in (0, 1)
    ]
    means = list(csv.DictReader(Path("s/table.csv").read_text().splitlines()))
    tests = [one["test"] for one in found if one["at"]["method"] == "probe"]
    assert abs(float(means[0]["test_mean"]) - sum(tests) / 2) < 1e-12 and means[0]["done"] == "2"
    assert r"\begin{tabular}" in Path("s/table.tex").read_text()
    adapters = [Path("s") / one["run"] / "adapter" / "adapter_model.safetensors" for one in found]
    before = [path.stat().st_mtime_ns for path in adapters]
    again = call("sweep", "--resume", "--out", "s", "--device", "cpu")
    assert again.exit_code == 0 and "probe" in again.stdout
    assert [path.stat().st_mtime_ns for path in adapters] == before


def test_a_run_that_fails_does_not_stop_the_others(call: Call, shapes: Path) -> None:
    words = ["sweep", *RUN, "--data", shapes, "--method", "probe", "--grid", "optim.lr=1e-3", "--device", "cpu"]
    result = call(*words, "--grid", "data.test_share=0.0,0.3", "--out", "s")
    assert result.exit_code == 1
    assert "no test part" in result.stderr
    rows = list(csv.DictReader(Path("s/runs.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["failed", "succeeded"]


def test_refusals(call: Call) -> None:
    for words, said in (
        (["--seeds", "0,x"], "--seeds holds something else"),
        (["--grid", "optim.lr"], "not of the form"),
        (["--seeds", "0-999"], "too many runs"),
        (["--methods", "dabt"], "No combination of this sweep is a run"),
        (["--resume", "--out", "nothing"], "no sweep to resume"),
    ):
        result = call("sweep", *words)
        assert result.exit_code == 2 and said in result.stderr, result.output
    Path("plan.yaml").write_text("sedes: [1]\n")
    assert "unknown key sedes" in call("sweep", "plan.yaml").stderr


def test_a_plan_goes_through_the_queue(call: Call, tmp_path: Path) -> None:
    plan = {"run": {"epochs": 1}, "methods": ["dapt", "lora"], "seeds": [0, 1]}
    Path("plan.yaml").write_text(yaml.safe_dump(plan))
    data = tmp_path / "data"
    with EmbeddedRedis(data / "redis") as server:
        store = RunStore(server.address.url, data)
        made = call("sweep", "plan.yaml", "--submit", "--format", "json")
        assert made.exit_code == 0, made.output
        one = json.loads(made.stdout)
        assert one["runs"] == 4 == store.count()
        again = call("sweep", "plan.yaml", "--submit")
        assert again.exit_code == 2 and "under way already" in again.stderr
        shown = call("sweep", "--show", one["sweep"][:6])
        assert "0/2" in shown.stdout and "lora" in shown.stdout
        assert "4 runs cancelled" in call("sweep", "--cancel", one["sweep"]).stderr
        assert {run.state for run in store.list()} == {"cancelled"}
        assert "4 runs queued again" in call("sweep", "--retry", one["sweep"]).stderr
        assert call("sweep", "--show", one["sweep"], "--format", "csv").stdout.startswith("method,data,runs")
        store.close()
