"""Runs as the page sees them."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from pointsmith.core.errors import UserError
from pointsmith.core.schema import Config
from pointsmith.worker.connection import Unreachable
from pointsmith.worker.store import RunStore

from tests.support.waiting import keeps


class Settings(Config):
    """A stand-in for a RunConfig; any pydantic object will do."""

    epochs: int = 3


def test_created_and_listed(store: RunStore) -> None:
    first = store.create(Settings(), name="mine")
    second = store.create({"method": {"kind": "dapt"}, "data": {"kind": "demo"}})
    assert (first.name, first.config, first.state, first.position) == ("mine", {"epochs": 3}, "queued", 1)
    assert (second.name, second.position) == ("dapt on demo", 2)
    assert [run.id for run in store.list()] == [second.id, first.id]
    assert store.list(limit=1, offset=1) == [store.get(first.id)]
    assert store.count() == 2
    record = json.loads((first.folder / "run.json").read_text())
    assert record["config"] == {"epochs": 3} and record["created"] == first.created
    assert store.events(first.id) == ([], "0")
    assert store.log(first.id) == []


@pytest.mark.parametrize("run_id", ["", "0" * 24, "../../etc", "x" * 24])
def test_unknown_runs(store: RunStore, run_id: str) -> None:
    for call in (store.get, store.events, store.cancel, store.delete, store.log):
        with pytest.raises(UserError, match="no such run"):
            call(run_id)


def test_queued_cancel_is_immediate_and_final(store: RunStore) -> None:
    def once() -> float:
        begun = time.monotonic()
        assert store.cancel(store.create({}).id).state == "cancelled"
        return time.monotonic() - begun

    keeps(0.1, once)
    run = store.create({})
    assert store.cancel(run.id).state == "cancelled"
    assert store.cancel(run.id).state == "cancelled"
    assert json.loads((run.folder / "run.json").read_text())["state"] == "cancelled"


def test_deleted_with_everything(store: RunStore) -> None:
    run = store.create({})
    store.delete(run.id)
    assert store.list() == []
    assert list((store.data_dir / "runs").iterdir()) == []
    assert not [key for key in store.ledger.redis.keys("*") if run.id in key]


def test_runs_are_read_in_again_when_redis_lost_them(store: RunStore) -> None:
    waiting, ended, deleted = store.create({"a": 1}), store.create({}), store.create({})
    claim = store.ledger.claim(ended.id, "worker")
    assert claim is not None
    store.ledger.finish(claim, "succeeded", result={"kind": "finished"})
    store.record(ended.id)
    before = store.get(ended.id)
    store.delete(deleted.id)
    (waiting.folder / "events-4.jsonl").write_text('{"kind": "step", "step": 1}\n')
    store.ledger.redis.flushall()
    assert store.read_in() == 2
    assert store.read_in() == 0
    again = store.get(waiting.id)
    assert (again.state, again.config, again.created, again.attempt) == ("queued", {"a": 1}, waiting.created, 4)
    assert store.events(waiting.id) == ([{"kind": "step", "step": 1}], "4-1:1:0")
    found = store.get(ended.id)
    assert (found.state, found.result, found.finished) == ("succeeded", {"kind": "finished"}, before.finished)


def test_without_redis_nothing_half_made_is_left(store: RunStore) -> None:
    os.kill(int(store.ledger.redis.info("server")["process_id"]), signal.SIGKILL)
    with pytest.raises(Unreachable):
        store.create({})
    assert list((store.data_dir / "runs").iterdir()) == []
    with pytest.raises(Unreachable):
        store.list()


def test_log_shows_the_end_without_tokens(store: RunStore) -> None:
    run = store.create({})
    lines = [f"line {number}" for number in range(1000)] + ["  1%\r 50%\r100%", "token hf_" + "a" * 30]
    (run.folder / "log.txt").write_text("\n".join(lines) + "\n")
    assert store.log(run.id, 3) == ["line 999", "100%", "token hf_***"]
    assert len(store.log(run.id)) == 40


def test_reading_many_points_asks_little_and_stays_quick(store: RunStore, data: Path) -> None:
    run = store.create({})
    claim = store.ledger.claim(run.id, "worker")
    assert claim is not None
    for begin in range(0, 10_000, 200):
        lines = [(1, at + 1, json.dumps({"kind": "step", "step": at + 1})) for at in range(begin, begin + 200)]
        assert store.ledger.append(claim, lines, {}, 0)
    asked = store.ledger.redis.info("stats")["total_commands_processed"]
    events, cursor = store.events(run.id)
    assert len(events) == 10_000
    assert store.events(run.id, cursor) == ([], cursor)
    assert store.ledger.redis.info("stats")["total_commands_processed"] - asked < 20

    def once() -> float:
        begun = time.monotonic()
        events, cursor = store.events(run.id)
        assert len(events) == 10_000 and store.events(run.id, cursor) == ([], cursor)
        return time.monotonic() - begun

    keeps(1.0, once)
