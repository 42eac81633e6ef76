"""The queue's moves on a real Redis: claimed once, fenced, leased, retried within the budget."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker import ledger as ledger_module
from pointsmith.worker import packing, story
from pointsmith.worker.ledger import Claim, Ledger
from pointsmith.worker.store import RunStore
from pointsmith.worker.timeline import Cursor

from tests.support.processes import join
from tests.support.waiting import FAST, until

LOST = {"kind": "lost", "message": "gone", "log": []}


def _line(step: int) -> str:
    return f'{{"kind": "step", "step": {step}}}'


def _claim(store: RunStore, run_id: str) -> Claim:
    claim = store.ledger.claim(run_id, "worker")
    assert claim is not None
    return claim


def test_one_of_many_gets_the_run(store: RunStore) -> None:
    run = store.create({})
    won: list[Claim] = []

    def attempt() -> None:
        ledger = Ledger(store.address, FAST)
        claim = ledger.claim(run.id, "worker")
        if claim is not None:
            won.append(claim)
        ledger.close()

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    join(threads)
    assert [claim.token for claim in won] == [1]
    assert store.get(run.id).state == "running"


def test_an_older_token_is_refused_everywhere(store: RunStore) -> None:
    run = store.create({})
    old = _claim(store, run.id)
    assert store.ledger.append(old, [(1, 1, _line(1)), (1, 2, _line(2))], {}, 0)
    assert store.ledger.append(old, [(1, 2, _line(2)), (1, 3, _line(3))], {}, 0)  # sent again: nothing doubled
    assert store.ledger.finish(old, "interrupted") == "queued"
    new = _claim(store, run.id)
    assert new.token == 2
    assert not store.ledger.renew(old)
    assert not store.ledger.standing(old).ours
    assert not store.ledger.append(old, [(1, 4, _line(4))], {}, 0)
    assert store.ledger.finish(old, "succeeded", result={"kind": "finished"}) is None
    assert store.get(run.id).state == "running"
    assert [event["step"] for event in store.events(run.id)[0]] == [1, 2, 3]


def test_budget_counts_only_attempts_without_progress(store: RunStore) -> None:
    run = store.create({})
    for mark in (5, 5, 7, 7):
        claim = _claim(store, run.id)
        assert store.ledger.append(claim, [], {}, mark)
        assert store.ledger.finish(claim, "lost", error=LOST) == "queued"
    assert store.ledger.finish(_claim(store, run.id), "lost", error=LOST) == "failed"
    found = store.get(run.id)
    assert (found.state, found.error, found.attempt) == ("failed", LOST, 5)


def test_interruptions_cost_nothing_and_keep_the_place(store: RunStore) -> None:
    first, second = store.create({}), store.create({})
    for _ in range(5):
        assert store.ledger.finish(_claim(store, first.id), "interrupted") == "queued"
    assert [store.get(run.id).position for run in (first, second)] == [1, 2]


def test_only_ended_leases_are_reaped(store: RunStore) -> None:
    dead, alive = (_claim(store, store.create({}).id) for _ in range(2))

    def reaped() -> bool:
        assert store.ledger.renew(alive)
        found = store.ledger.reap(LOST)
        assert found in ([], [(dead.id, "queued", "any")])
        return bool(found)

    took = until(reaped, "the lease's end")
    assert 0.5 * FAST.lease < took < FAST.lease + 1
    assert store.get(alive.id).state == "running"
    assert not store.ledger.renew(dead)


def test_a_wish_to_cancel_wins_over_a_retry(store: RunStore) -> None:
    run = store.create({})
    claim = _claim(store, run.id)
    assert store.cancel(run.id).cancelling
    assert store.ledger.standing(claim).cancel
    assert store.ledger.finish(claim, "lost", error=LOST) == "cancelled"
    assert store.ledger.claim(run.id, "worker") is None


def test_a_running_run_cannot_be_deleted(store: RunStore) -> None:
    run = store.create({})
    _claim(store, run.id)
    with pytest.raises(UserError, match="still running"):
        store.delete(run.id)
    assert run.folder.exists()


def test_a_long_stream_is_packed_and_reads_as_before(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the run goes on, through two attempts, and for one who follows it; the stream stays short."""
    monkeypatch.setattr(packing, "SOME", 100)
    monkeypatch.setattr(ledger_module, "_AT_ONCE", 70)
    run, told, key = store.create({}), list[int](), store.ledger.key
    cursor, sent = "0", 0
    for token in (1, 2):
        claim = _claim(store, run.id)
        for number in range(1, 551):
            sent += 1
            assert store.ledger.append(claim, [(token, number, f'{{"kind": "step", "step": {sent}, "ä": 0.5}}')], {}, 0)
            if number % 150 == 0:
                while store.ledger.pack(claim):
                    pass
                events, cursor = store.events(run.id, cursor)
                told += [event["step"] for event in events]
        if token == 1:
            assert store.ledger.finish(claim, "interrupted") == "queued"
    assert not store.ledger.pack(store.ledger.claim(store.create({}).id, "w"))  # type: ignore[arg-type]
    events, cursor = store.events(run.id, cursor)
    assert told + [event["step"] for event in events] == list(range(1, 1101))
    assert [event["step"] for event in store.events(run.id)[0]] == list(range(1, 1101))
    assert store.events(run.id, cursor)[0] == []
    middle = store.ledger.entries(run.id, Cursor(1, 333))
    assert middle is not None and [entry[:2] for entry in middle[:2]] == [(1, 334), (1, 335)] and len(middle) == 767
    assert store.ledger.redis.xlen(key("ev", run.id)) <= 250 and store.ledger.redis.llen(key("packed", run.id)) >= 8
    assert not store.ledger.pack(claim.__class__(run.id, 1, {})), "an older attempt packs nothing"
    assert store.ledger.finish(claim, "succeeded", result={}) == "succeeded"
    assert story.put_away(store.ledger, None, store.data_dir) == 0  # not yet
    monkeypatch.setattr(store.ledger, "timing", replace(FAST, keep_streams=-10.0))
    assert story.put_away(store.ledger, None, store.data_dir) == 1
    assert not store.ledger.redis.exists(key("packed", run.id), key("ev", run.id))
    assert [event["step"] for event in store.events(run.id)[0]] == list(range(1, 1101))
    store.delete(run.id)


def test_a_deleted_run_takes_its_packed_events_along(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SOME", 10)
    run = store.create({})
    claim = _claim(store, run.id)
    assert store.ledger.append(claim, [(1, at, _line(at)) for at in range(1, 31)], {}, 0) and store.ledger.pack(claim)
    store.ledger.finish(claim, "failed", error=LOST)
    store.delete(run.id)
    assert not store.ledger.redis.keys(f"*{run.id}*")
