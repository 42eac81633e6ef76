"""What one click offers for each failure, and that the run it makes is the one that was promised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.events import Interrupted
from pointsmith.core.training import train
from pointsmith.ui.curves import Seen
from pointsmith.ui.remedies import ADVICE, MEANS, RESUME, changed, remedies
from pointsmith.ui.run_view import header
from pointsmith.ui.run_view import remedies as shown
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.failures import Kind
from pointsmith.worker.run import Run
from pointsmith.worker.store import RunStore
from pointsmith.worker.timeline import events_file

from tests.support.tiny import tiny_run


def failed(kind: str, folder: Path, **settings: Any) -> Run:
    error = {"kind": kind, "message": "Something <b>broke</b>", "log": [f"line {i}" for i in range(40)]}
    config = json.loads(RunConfig(**settings).model_dump_json())
    return Run("a" * 24, "r", "failed", 0, 0, 1, None, 1, None, config, {}, error, None, folder)


@pytest.mark.parametrize(
    ("kind", "settings", "keys"),
    [
        ("memory", {"precision": "float32"}, ["slices", "halve", "recompute", "bf16"]),
        ("memory", {"recompute": True, "accumulate": 16, "precision": "bf16"}, ["slices"]),
        ("memory", {"memory": "two-phase", "accumulate": 16, "recompute": True, "precision": "bf16"}, []),
        ("memory", {"method": {"kind": "idpt"}, "recompute": True, "precision": "bf16"}, ["halve"]),
        ("memory", {"method": {"kind": "full"}, "recompute": True, "precision": "bf16"}, ["halve"]),
        ("nan", {"precision": "bf16"}, ["slower", "float32"]),
        ("disk", {}, ["again"]),
        ("network", {}, ["again"]),
        ("lost", {}, ["slices", "halve", "recompute", "again"]),
        ("data", {}, []),
        ("user", {}, []),
    ],
)
def test_what_is_offered(tmp_path: Path, kind: str, settings: dict[str, Any], keys: list[str]) -> None:
    assert [one.key for one in remedies(failed(kind, tmp_path, **settings))] == keys


def test_every_kind_is_explained() -> None:
    from typing import get_args

    assert set(get_args(Kind)) == set(MEANS) and set(ADVICE) <= set(MEANS)


def test_halving_halves_what_is_in_memory_and_keeps_the_batch(tmp_path: Path) -> None:
    run = failed("memory", tmp_path, batch_size=30, accumulate=4)
    config = changed(run, next(one for one in remedies(run) if one.key == "halve"))
    assert (config.batch_size, config.accumulate) == (30, 8)
    sliced = changed(run, remedies(run)[0])
    assert (sliced.batch_size, sliced.memory, sliced.accumulate) == (30, "two-phase", 1)
    again = failed("memory", tmp_path, batch_size=30, memory="two-phase")
    assert changed(again, remedies(again)[0]).accumulate == 8
    slower = failed("nan", tmp_path)
    assert changed(slower, remedies(slower)[0]).optim.lr == pytest.approx(RunConfig().optim.lr / 3, rel=0.05)


def test_the_page_shows_reason_remedies_and_forty_lines(tmp_path: Path) -> None:
    run = failed("memory", tmp_path)
    told = header(run, Seen(), [], 2) + shown(run, remedies(run))
    assert "ran out of memory" in told and "&lt;b&gt;broke" in told and "<b>broke" not in told
    assert 'data-remedy="halve"' in told and 'data-remedy="clone"' in told
    assert "line 0\n" in told and "line 39" in told
    assert shown(replace(run, state="running"), []) == ""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with EmbeddedRedis(tmp_path / "data" / "redis") as server:
        made = RunStore(server.address.url, tmp_path / "data")
        yield made
        made.close()


def test_going_on_is_a_new_run_with_the_old_one_s_curve_and_checkpoint(store: RunStore, tmp_path: Path) -> None:
    config = tiny_run()
    old = store.create(config, name="old")
    claim = store.ledger.claim(old.id, "w")
    assert claim is not None
    asked = iter(range(10**6))
    told = list(train(parse_config(old.config), old.folder, device="cpu", stop=lambda: next(asked) > 6))
    assert isinstance(told[-1], Interrupted)
    lines = [event.model_dump_json() for event in told]
    events_file(old.folder, 1).write_text("".join(f"{line}\n" for line in lines))
    store.ledger.finish(claim, "failed", error={"kind": "disk", "message": "full", "log": []})
    old = store.get(old.id)
    assert remedies(old)[0] is RESUME
    new = store.create(old.config, name="new", after=old)
    assert new.id != old.id and new.attempt == 1 and new.state == "queued"
    second = store.ledger.claim(new.id, "w")
    assert second is not None and second.token == 2
    rest = list(train(parse_config(new.config), new.folder, device="cpu"))
    assert any(f"Resumed after step {told[-1].step}" in event.message for event in rest if event.kind == "note")
    events_file(new.folder, 2).write_text("".join(f"{event.model_dump_json()}\n" for event in rest))
    steps = [event["step"] for event in store.events(new.id)[0] if event["kind"] == "step"]
    whole = [event.step for event in train(config, tmp_path / "whole", device="cpu") if event.kind == "step"]
    assert steps == whole
    assert (old.folder / "checkpoint" / "latest.json").is_file()
