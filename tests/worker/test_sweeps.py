"""A sweep is queued whole or not at all, and any process finds its table again, after Redis was lost, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pointsmith.core.errors import UserError
from pointsmith.core.training.sweep import parse_plan
from pointsmith.worker.run import Run
from pointsmith.worker.store import RunStore
from pointsmith.worker.sweeps import AlreadyQueued, Sweeps

PLAN = parse_plan({"run": {"epochs": 2}, "methods": ["dapt", "lora"], "seeds": [0, 1]})


def end(store: RunStore, run: Run, outcome: Any = "succeeded", **more: Any) -> None:
    claim = store.ledger.claim(run.id, "worker")
    assert claim is not None
    store.ledger.append(claim, [], {"memory": 10**9}, 0)
    store.ledger.finish(claim, outcome, **more)
    store.record(run.id)


def finished(test: float) -> dict[str, Any]:
    return {"kind": "finished", "test_accuracy": test, "validation_accuracy": 0.5, "trainable": 7, "seconds": 3.0}


def test_queued_and_summed_up(store: RunStore) -> None:
    sweeps = Sweeps(store)
    one = sweeps.start(PLAN)
    sweep = sweeps.get(one)
    assert [run.name for run in sweep.runs][:2] == ["dapt on demo, seed 0", "dapt on demo, seed 1"]
    assert (sweep.name, sweep.planned, sweep.missing, sweep.active) == ("dapt, lora on demo", 4, 0, True)
    assert sweep.plan == PLAN and [found.id for found in sweeps.list()] == [one]
    end(store, sweep.runs[0], result=finished(0.9))
    first = sweeps.get(one).outcomes[0]
    assert (first.test, first.validation, first.trainable, first.memory) == (0.9, 0.5, 7, 10**9)
    assert first.at == {"method": "dapt", "data": "demo", "seed": 0}


def test_the_same_sweep_is_not_queued_twice_while_it_is_under_way(store: RunStore) -> None:
    sweeps = Sweeps(store)
    one = sweeps.start(PLAN)
    with pytest.raises(AlreadyQueued, match="under way already") as refused:
        sweeps.start(PLAN)
    assert refused.value.sweep_id == one and store.count() == 4
    assert sweeps.cancel(one) == 4
    assert sweeps.start(PLAN) != one


def test_failed_and_deleted_runs_are_queued_again_in_their_places(store: RunStore) -> None:
    sweeps = Sweeps(store)
    one = sweeps.start(PLAN)
    runs = sweeps.get(one).runs
    end(store, runs[0], "failed", error={"kind": "bug", "message": "broke", "log": []})
    end(store, runs[1], result=finished(0.8))
    store.delete(runs[2].id)
    sweep = sweeps.get(one)
    assert (len(sweep.failed), sweep.missing) == (1, 1)
    assert sweeps.retry(one) == 2
    again = sweeps.get(one)
    assert [run.state for run in again.runs] == ["queued", "succeeded", "queued", "queued"]
    assert [run.sweep["at"]["seed"] for run in again.runs] == [0, 1, 0, 1] and again.missing == 0
    assert again.runs[0].id != runs[0].id and again.runs[0].config == runs[0].config
    assert sweeps.retry(one) == 0


def test_the_table_is_there_again_when_redis_lost_everything(store: RunStore) -> None:
    sweeps = Sweeps(store)
    one = sweeps.start(PLAN)
    end(store, sweeps.get(one).runs[0], result=finished(0.9))
    before = sweeps.get(one)
    store.ledger.redis.flushall()
    with pytest.raises(UserError, match="no such sweep"):
        Sweeps(store, lambda: "somebody").get(one)
    store.read_in()
    after = sweeps.get(one)
    assert [run.id for run in after.runs] == [run.id for run in before.runs]
    assert after.outcomes[0] == before.outcomes[0] and after.plan == PLAN and after.name == before.name
    assert [found.id for found in sweeps.list()] == [one]


def test_nothing_is_left_of_a_sweep_that_could_not_be_queued(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    create, made = store.create, []

    def failing(*given: Any, **named: Any) -> Run:
        if len(made) == 2:
            raise UserError("The disk is full")
        made.append(create(*given, **named))
        return made[-1]

    monkeypatch.setattr(store, "create", failing)
    sweeps = Sweeps(store)
    with pytest.raises(UserError, match="disk is full"):
        sweeps.start(PLAN)
    assert store.list() == [] and sweeps.list() == []
    assert not store.ledger.redis.keys("*sweep*") and not list((store.data_dir / "sweeps").iterdir())


def test_deleted_with_all_runs_but_not_while_one_is_running(store: RunStore) -> None:
    sweeps = Sweeps(store)
    one = sweeps.start(PLAN)
    claim = store.ledger.claim(sweeps.get(one).runs[0].id, "worker")
    assert claim is not None
    with pytest.raises(UserError, match="still running"):
        sweeps.delete(one)
    store.ledger.finish(claim, "succeeded", result=finished(1.0))
    sweeps.delete(one)
    assert store.list() == [] and sweeps.list() == [] and not store.ledger.redis.keys("*sweep*")


def test_the_last_run_takes_its_sweep_along(store: RunStore) -> None:
    sweeps = Sweeps(store)
    one = sweeps.start(parse_plan({"seeds": [0, 1]}))
    for run in sweeps.get(one).runs:
        store.delete(run.id)
    assert not store.ledger.redis.keys("*sweep*") and not list((store.data_dir / "sweeps").iterdir())


def test_others_do_not_see_it(store: RunStore) -> None:
    mine, other = Sweeps(store, lambda: "me"), Sweeps(store, lambda: "you")
    one = mine.start(PLAN)
    assert {run.owner for run in mine.get(one).runs} == {"me"}
    assert other.list() == []
    for act in (other.get, other.cancel, other.retry, other.delete):
        with pytest.raises(UserError, match="no such sweep"):
            act(one)
    with pytest.raises(UserError, match="not signed in"):
        Sweeps(store, lambda: "?").start(PLAN)


@pytest.mark.parametrize("name", ["", "../../etc", "0" * 24])
def test_unknown_sweeps(store: RunStore, name: str) -> None:
    with pytest.raises(UserError, match="no such sweep"):
        Sweeps(store).get(name)


def test_a_plan_without_a_run_says_why(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No combination of this sweep is a run\..*unknown key method\.rank"):
        Sweeps(store).start(parse_plan({"methods": ["probe"], "grid": {"method.rank": [8]}}))
    assert store.list() == []
