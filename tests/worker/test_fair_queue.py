"""Nobody waits behind all the runs of another user, and nobody queues more than their quota."""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from collections import Counter

import pytest
from pointsmith.core.errors import UserError
from pointsmith.core.training.sweep import parse_plan
from pointsmith.worker import quotas, scripts
from pointsmith.worker.capability import Needs
from pointsmith.worker.ledger import Claim
from pointsmith.worker.own_runs import OwnRuns
from pointsmith.worker.reaper import Reaper
from pointsmith.worker.store import RunStore
from pointsmith.worker.sweeps import Sweeps

from tests.support.processes import join
from tests.support.waiting import keeps

CAPS = {"any": 0, "cpu": 1, "cuda": 2, "cuda-24": 3}
LOST = {"kind": "lost", "message": "gone", "log": []}


def _enter(store: RunStore, owner: str, count: int, queue: str = "any") -> list[str]:
    """Queue runs without their folders, which most of these tests do not need; return their ids."""
    ids = [f"{zlib.crc32(owner.encode()):08x}{CAPS[queue]}{number:015d}" for number in range(count)]
    create = store.ledger.redis.register_script(scripts.CREATE)
    key = store.ledger.key
    pipe = store.ledger.redis.pipeline(transaction=False)
    for run_id in ids:
        fields = ("name", run_id, "state", "queued", "config", "{}", "queue", queue)
        create([key("run", run_id), key("queued"), key("runs")], [run_id, "", owner, 0, *fields], client=pipe)
    assert pipe.execute() == [1] * count
    return ids


def _next(store: RunStore, queue: str = "any") -> Claim:
    claim = store.ledger.claim_next(queue, "worker")
    assert claim is not None
    return claim


def _finish(store: RunStore, claim: Claim) -> None:
    assert store.ledger.finish(claim, "succeeded", result={}) == "succeeded"


def _order(store: RunStore, workers: int = 1) -> list[str]:
    """Run everything with so many workers, each run as long as the others; return the ids as they started."""
    started: list[str] = []
    running: list[Claim] = []
    while True:
        if len(running) == workers:
            _finish(store, running.pop(0))
        claim = store.ledger.claim_next("any", "worker")
        if claim is None and not running:
            return started
        if claim is None:
            _finish(store, running.pop(0))
        else:
            started.append(claim.id)
            running.append(claim)


def test_one_run_behind_many_of_another_user_is_next(store: RunStore) -> None:
    many = _enter(store, "ada", 960)
    _finish(store, _next(store))
    (single,) = _enter(store, "ben", 1)
    assert [store.get(run_id).position for run_id in (single, many[1], many[-1])] == [1, 2, 960]
    assert [_next(store).id for _ in range(3)] == [single, *many[1:3]]


@pytest.mark.parametrize("owner", ["", "ada"])
def test_with_one_owner_the_order_is_that_of_arrival(store: RunStore, owner: str) -> None:
    ids = _enter(store, owner, 12)
    assert [run.position for run in store.several(ids)] == list(range(1, 13))
    assert _order(store, workers=3) == ids


def test_users_take_turns_and_their_own_runs_stay_in_order(store: RunStore) -> None:
    ada, ben, eva = _enter(store, "ada", 5), _enter(store, "ben", 2), _enter(store, "eva", 3)
    expected = [ada[0], ben[0], eva[0], ada[1], ben[1], eva[1], ada[2], eva[2], *ada[3:]]
    positions = {run.id: run.position for run in store.several(expected)}
    assert sorted(expected, key=lambda run_id: positions[run_id] or 0) == expected
    assert sorted(positions.values(), key=int) == list(range(1, 11))  # type: ignore[arg-type]
    assert _order(store) == expected


def test_positions_are_the_order_in_which_runs_start(store: RunStore) -> None:
    """Also where some users hold workers already, and where nothing ends meanwhile."""
    _enter(store, "ada", 9)
    for _ in range(3):
        _next(store)
    _enter(store, "ben", 4)
    _next(store)
    _enter(store, "eva", 2)
    _enter(store, "", 3)
    ids = store.ledger.redis.zrange(store.ledger.key("queued"), 0, -1)
    told = sorted(store.several(ids), key=lambda run: run.position or 0)
    assert [run.position for run in told] == list(range(1, len(ids) + 1))
    assert [_next(store).id for _ in ids] == [run.id for run in told]


def test_who_holds_fewer_workers_goes_first(store: RunStore) -> None:
    _enter(store, "ada", 4)
    held = [_next(store) for _ in range(2)]
    ben = _enter(store, "ben", 3)
    assert [_next(store).id for _ in range(2)] == ben[:2]
    _finish(store, held[0])
    assert _next(store).fields["owner"] == "ada"


def test_a_run_that_was_sent_back_is_next(store: RunStore) -> None:
    ada, ben = _enter(store, "ada", 3), _enter(store, "ben", 3)
    for outcome in ("lost", "interrupted"):
        claim = _next(store)
        assert claim.id == ada[0]
        assert store.ledger.finish(claim, outcome, error=LOST) == "queued"  # type: ignore[arg-type]
        assert [store.get(one).position for one in (ada[0], ben[0])] == [1, 2]
    assert _next(store).id == ada[0]
    assert _next(store).id == ben[0]


def test_a_worker_takes_only_what_it_can_run(store: RunStore) -> None:
    _enter(store, "ada", 3, "cuda-24")
    anywhere, gpu = _enter(store, "ada", 2), _enter(store, "ben", 1, "cuda")
    assert store.ledger.claim_next("cpu", "worker") is None
    assert [_next(store).id for _ in range(2)] == anywhere
    assert _next(store, "cuda").id == gpu[0]
    assert store.ledger.claim_next("any", "worker") is None
    assert _next(store, "cuda-24").fields["owner"] == "ada"


def test_cancelled_runs_cost_their_owner_nothing(store: RunStore) -> None:
    ada = _enter(store, "ada", 30)
    ben = _enter(store, "ben", 3)
    for run_id in ada[:-1]:
        store.ledger.cancel(run_id)
    assert store.get(ada[-1]).position == 1 and store.ledger.active("ada") == 1
    assert [_next(store).id for _ in range(2)] == [ada[-1], ben[0]]


def test_nothing_is_left_of_runs_that_are_gone(store: RunStore) -> None:
    runs = [store.create({}, owner=owner) for owner in ("ada", "ben", "ada")]
    claim = _next(store)
    _finish(store, claim)
    for run in runs:
        store.delete(run.id)
    left = set(store.ledger.redis.keys("*")) - {store.ledger.key("served")}
    assert not [key for key in left if "celery" not in key and "kombu" not in key]


def test_runs_queued_by_an_older_version_get_their_turn(store: RunStore) -> None:
    run = store.create({}, owner="ada")
    redis, key = store.ledger.redis, store.ledger.key
    redis.hdel(key("run", run.id), "line")
    redis.hset(key("run", run.id), "queued_at", "1")
    redis.delete(key("lines"), key("lines-in", "any"), key("line", "of:ada"), key("line-in", "any", "of:ada"))
    assert store.ledger.claim_next("any", "worker") is None
    assert store.ledger.overdue(["any"]) == [(run.id, "any")]
    assert _next(store).id == run.id


def test_the_order_survives_a_redis_that_lost_everything(store: RunStore) -> None:
    runs = [store.create({}, owner="ada") for _ in range(4)] + [store.create({}, owner="ben")]
    store.ledger.redis.flushall()
    Reaper(store).sweep()
    assert store.ledger.active("ada") == 4
    assert _order(store) == [runs[at].id for at in (0, 4, 1, 2, 3)]


def test_a_full_queue_stays_quick(store: RunStore) -> None:
    """10,000 runs of 100 users: a claim, a look and an end take a few milliseconds."""
    ids = [_enter(store, f"user {number}", 100) for number in range(100)]

    def once() -> float:
        begun = time.monotonic()
        for _ in range(20):
            claim = _next(store)
            assert store.get(ids[99][99]).position
            _finish(store, claim)
        return time.monotonic() - begun

    keeps(1.0, once)

    def look() -> float:
        begun = time.monotonic()
        assert all(run.position for run in store.several(run_id for some in ids[50:55] for run_id in some))
        return time.monotonic() - begun

    keeps(1.0, look)


def test_a_user_cannot_queue_more_than_their_quota(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(quotas.RUNS, "3")
    ada, ben = OwnRuns(store, lambda: "ada"), OwnRuns(store, lambda: "ben")
    runs = [ada.create({}) for _ in range(3)]
    with pytest.raises(quotas.QuotaExceeded):
        ada.create({})
    assert ben.create({}).state == "queued"
    assert len(list((store.data_dir / "runs").iterdir())) == 4
    ada.cancel(runs[0].id)
    claim = store.ledger.claim(ada.create({}).id, "worker")
    assert claim is not None
    with pytest.raises(quotas.QuotaExceeded):  # a running one counts, too
        ada.create({})
    _finish(store, claim)
    assert ada.create({}).state == "queued"


def test_without_a_name_there_is_no_quota(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(quotas.RUNS, "2")
    assert [store.create({}).position for _ in range(4)] == [1, 2, 3, 4]
    monkeypatch.setenv(quotas.RUNS, "0")
    assert [store.create({}, owner="ada").state for _ in range(4)] == ["queued"] * 4


def test_runs_submitted_at_once_do_not_pass_the_quota_together(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(quotas.RUNS, "5")
    monkeypatch.setattr(store, "require_room", lambda *_: None)  # all have looked before any has queued
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def submit() -> None:
        outcome = "refused"
        with contextlib.suppress(quotas.QuotaExceeded):
            outcome = store.create({}, owner="ada").state
        with lock:
            outcomes[outcome] += 1

    threads = [threading.Thread(target=submit) for _ in range(16)]
    for thread in threads:
        thread.start()
    join(threads)
    assert outcomes == {"queued": 5, "refused": 11}
    assert len(list((store.data_dir / "runs").iterdir())) == store.ledger.active("ada") == 5


def test_a_sweep_beyond_the_quota_queues_nothing(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(quotas.RUNS, "4")
    sweeps = Sweeps(store, lambda: "ada")
    with pytest.raises(quotas.QuotaExceeded):
        sweeps.start(parse_plan({"seeds": list(range(5))}))
    assert store.count() == 0 and sweeps.list() == []
    sweep = sweeps.start(parse_plan({"seeds": list(range(4))}))
    assert len(sweeps.get(sweep).runs) == 4
    sweeps.cancel(sweep)
    store.create({}, owner="ada")
    with pytest.raises(quotas.QuotaExceeded):
        sweeps.retry(sweep)
    assert store.count() == 5
    monkeypatch.delenv(quotas.RUNS)
    assert sweeps.retry(sweep) == 4


def test_a_sweep_that_is_overtaken_by_other_runs_leaves_nothing(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(quotas.RUNS, "4")
    monkeypatch.setattr(store, "require_room", lambda *_: None)
    store.create({}, owner="ada")
    with pytest.raises(quotas.QuotaExceeded):
        Sweeps(store, lambda: "ada").start(parse_plan({"seeds": list(range(4))}))
    assert store.count() == 1 and not store.ledger.redis.keys(store.ledger.key("sweep*"))


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_a_quota_that_is_no_number_is_refused(store: RunStore, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(quotas.RUNS, text)
    with pytest.raises(UserError):
        store.create({}, owner="ada")


def test_needs_are_kept_in_order_between_owners(store: RunStore) -> None:
    runs = [store.create({}, owner=owner, needs=Needs("cuda", 24)) for owner in ("ada", "ada", "ben")]
    assert [_next(store, "cuda-24").id for _ in range(3)] == [runs[at].id for at in (0, 2, 1)]
