"""Events on their way from the files into the stream: none lost, none doubled, whatever happens to Redis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pointsmith.worker.connection import Unreachable
from pointsmith.worker.ledger import Claim, Ledger
from pointsmith.worker.shipper import Shipper
from pointsmith.worker.store import RunStore
from pointsmith.worker.timeline import events_file


def _write(folder: Path, token: int, steps: range) -> None:
    with events_file(folder, token).open("a") as file:
        for step in steps:
            event = {"kind": "step", "step": step, "epoch": 1, "loss": 1.0, "eta_seconds": 0.0}
            file.write(json.dumps(event) + "\n")
            if step % 10 == 0:
                file.write(json.dumps({"kind": "checkpoint", "step": step, "epoch": 1}) + "\n")


def _claim(store: RunStore, run_id: str) -> Claim:
    claim = store.ledger.claim(run_id, "worker")
    assert claim is not None
    return claim


def _steps(store: RunStore, run_id: str) -> list[int]:
    return [event["step"] for event in store.events(run_id)[0] if event["kind"] == "step"]


def test_everything_arrives_once_though_redis_fails_again_and_again(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.create({})
    claim = _claim(store, run.id)
    shipper = Shipper(store.ledger, claim, run.folder)
    append, calls = Ledger.append, []

    def sometimes(*arguments: Any) -> bool:
        calls.append(1)
        if len(calls) % 3 == 1:
            raise Unreachable("gone before it was sent")
        taken = append(*arguments)
        if len(calls) % 3 == 2:
            raise Unreachable("gone before the answer")
        return taken

    monkeypatch.setattr(Ledger, "append", sometimes)
    for begin in range(1, 1001, 250):
        _write(run.folder, 1, range(begin, begin + 250))
        for _ in range(9):
            try:
                assert shipper.ship()
            except Unreachable:
                continue
    assert _steps(store, run.id) == list(range(1, 1001))
    assert len(store.events(run.id)[0]) == 1100
    assert store.get(run.id).progress["step"] == 1000
    assert store.ledger.redis.hget(store.ledger.key("run", run.id), "mark") == "1000"


def test_what_a_dead_supervisor_had_not_sent_goes_first(store: RunStore) -> None:
    run = store.create({})
    first = _claim(store, run.id)
    _write(run.folder, 1, range(1, 6))
    assert Shipper(store.ledger, first, run.folder).ship()
    _write(run.folder, 1, range(6, 13))  # and then its worker was killed
    assert store.ledger.finish(first, "interrupted") == "queued"
    second = _claim(store, run.id)
    shipper = Shipper(store.ledger, second, run.folder)
    assert shipper.ship()
    _write(run.folder, 2, range(11, 16))
    assert shipper.ship()
    assert _steps(store, run.id) == list(range(1, 16))


def test_an_unfinished_line_waits(store: RunStore) -> None:
    run = store.create({})
    shipper = Shipper(store.ledger, _claim(store, run.id), run.folder)
    _write(run.folder, 1, range(1, 3))
    with events_file(run.folder, 1).open("a") as file:
        file.write('{"kind": "step", "st')
    assert shipper.ship()
    assert _steps(store, run.id) == [1, 2]
    with events_file(run.folder, 1).open("a") as file:
        file.write('ep": 3, "epoch": 1, "loss": 1.0, "eta_seconds": 0.0}\n')
    assert shipper.ship()
    assert _steps(store, run.id) == [1, 2, 3]


def test_nothing_is_sent_for_a_run_that_was_taken_away(store: RunStore) -> None:
    run = store.create({})
    old = _claim(store, run.id)
    shipper = Shipper(store.ledger, old, run.folder)
    store.ledger.finish(old, "interrupted")
    _claim(store, run.id)
    _write(run.folder, 1, range(1, 3))
    assert not shipper.ship()
