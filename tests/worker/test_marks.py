"""Names, notes, tags and the bin."""

from __future__ import annotations

import json

import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker import marks
from pointsmith.worker.own_runs import OwnRuns
from pointsmith.worker.store import RunStore


def test_a_run_is_labelled(store: RunStore) -> None:
    run = store.create({}, name="first")
    store.label(run.id, name="  A  better name ", tags=["paper", "table 1", "paper", " "])
    found = store.label(run.id, note="The seed that worked.\n")
    assert (found.name, found.note, found.tags) == ("A better name", "The seed that worked.", ("paper", "table 1"))
    store.cancel(run.id)
    store.label(run.id, name="ended")
    assert json.loads((run.folder / "run.json").read_text())["name"] == "ended"
    # Redis is lost: the folder knows
    store.ledger.redis.flushdb()
    assert store.read_in() == 1
    found = store.get(run.id)
    assert (found.name, found.note, found.tags) == ("ended", "The seed that worked.", ("paper", "table 1"))


@pytest.mark.parametrize(
    "wrong", [{"name": " "}, {"name": "x" * 121}, {"note": "x" * 4001}, {"tags": [f"{i}" for i in range(13)]}]
)
def test_what_does_not_fit_is_refused(store: RunStore, wrong: dict) -> None:
    run = store.create({}, name="first")
    with pytest.raises(UserError):
        store.label(run.id, **wrong)
    assert store.get(run.id).name == "first"


def test_a_discarded_run_can_be_had_back_for_a_while(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [store.create({}, name=name) for name in ("one", "two", "three")]
    store.discard(runs[1].id)
    assert [run.name for run in store.list()] == ["three", "one"] and store.count() == 2
    assert [run.name for run in store.discarded()] == ["two"]
    assert store.restore(runs[1].id).discarded is None
    assert [run.name for run in store.list()] == ["three", "two", "one"]
    with pytest.raises(UserError, match="bin any more"):
        store.restore(runs[1].id)

    store.discard(runs[1].id)
    store.tidy()
    assert runs[1].folder.exists()
    monkeypatch.setattr(marks, "REPENT", -2.0)
    store.tidy()
    assert not runs[1].folder.exists() and store.discarded() == [] and store.count() == 2
    assert not [key for key in store.ledger.redis.keys("*") if runs[1].id in key]


def test_a_discarded_folder_is_not_read_in_again(store: RunStore) -> None:
    run = store.create({})
    store.discard(run.id)
    store.ledger.redis.flushdb()
    assert store.read_in() == 0 and not run.folder.exists()


def test_labels_and_the_bin_belong_to_their_owner(store: RunStore) -> None:
    run = store.create({}, owner="ada")
    others = OwnRuns(store, lambda: "bob")
    for call in (lambda: others.label(run.id, name="mine"), lambda: others.discard(run.id)):
        with pytest.raises(UserError, match="no such run"):
            call()
    OwnRuns(store, lambda: "ada").discard(run.id)
    assert others.discarded() == [] and len(OwnRuns(store, lambda: "ada").discarded()) == 1
    with pytest.raises(UserError, match="no such run"):
        others.restore(run.id)
