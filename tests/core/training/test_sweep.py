"""A sweep is expanded as its plan says, refuses what is no run with a reason, and its table holds the right numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from pointsmith.core.config import RunConfig
from pointsmith.core.errors import UserError
from pointsmith.core.training.sweep import (
    MAX_RUNS,
    Outcome,
    Stat,
    expand,
    latex,
    means_csv,
    parse_plan,
    runs_csv,
    summarise,
    varied,
)


def test_every_combination_becomes_one_run_in_the_order_of_the_plan() -> None:
    plan = parse_plan(
        {
            "run": {"data": {"kind": "demo", "train_per_class": 5}, "epochs": 2},
            "methods": ["dapt", {"kind": "lora", "rank": 4}],
            "seeds": [0, 1],
            "grid": {"optim.lr": [0.001, 1e-5]},
        }
    )
    found = expand(plan)
    assert plan.count == 8 and len(found.members) == 8 and not found.refused
    assert [(m.at["method"], m.at["optim.lr"], m.at["seed"]) for m in found.members][:3] == [
        ("dapt", 0.001, 0),
        ("dapt", 0.001, 1),
        ("dapt", 1e-5, 0),
    ]
    last = found.members[-1].config
    assert (last.method.kind, last.method.rank, last.optim.lr, last.seed) == ("lora", 4, 1e-5, 1)  # type: ignore[union-attr]
    assert all(one.config.data.train_per_class == 5 and one.config.epochs == 2 for one in found.members)  # type: ignore[union-attr]
    names = [one.name for one in found.members]
    assert len(set(names)) == 8 and names[0] == "dapt-on-demo-optim.lr-0.001-seed-0"
    assert all(Path(name).name == name for name in names)


def test_a_plan_without_lists_is_the_run_itself() -> None:
    (member,) = expand(parse_plan({})).members
    assert member.config == RunConfig() and member.at == {"method": "dapt", "data": "demo", "seed": 0}


def test_what_is_no_run_is_refused_with_its_reason_and_the_rest_stays() -> None:
    found = expand(parse_plan({"methods": ["dapt", "probe", "nonsense"], "grid": {"method.rank": [8, 16]}}))
    assert [one.at["method"] for one in found.members] == ["dapt", "dapt"]
    reasons = {one.at["method"]: one.reason for one in found.refused}
    assert "unknown key method.rank" in reasons["probe"] and "one of" in reasons["nonsense"]
    assert len(found.refused) == 4


def test_the_same_run_twice_is_refused() -> None:
    default = RunConfig().method.rank  # type: ignore[union-attr]
    found = expand(parse_plan({"methods": ["dapt", {"kind": "dapt", "rank": default}]}))
    assert len(found.members) == 1 and "same run as dapt on demo" in found.refused[0].reason


def test_a_check_of_the_place_where_it_runs_can_refuse() -> None:
    def check(config: RunConfig) -> None:
        if config.seed == 1:
            raise UserError("Not here")

    found = expand(parse_plan({"seeds": [0, 1]}), check)
    assert [one.at["seed"] for one in found.members] == [0]
    assert [(one.at["seed"], one.reason) for one in found.refused] == [(1, "Not here.")]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"seeds": [0, 1, 0]}, "names a value of seeds twice"),
        ({"methods": ["dapt", "dapt"]}, "names a value of methods twice"),
        ({"grid": {"optim.lr": [0.1, 0.1]}}, "names a value of optim.lr twice"),
        ({"grid": {"optim.lr": []}}, "no value for optim.lr"),
        ({"grid": {"seed": [1]}}, "the list `seeds`"),
        ({"grid": {"method.kind": ["dapt"]}}, "the list `methods`"),
        ({"seeds": list(range(MAX_RUNS + 1))}, f"at most {MAX_RUNS}"),
    ],
)
def test_plans_that_cannot_be_meant(plan: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        expand(parse_plan(plan))


def test_a_misspelt_key_is_named() -> None:
    with pytest.raises(UserError, match="unknown key sedes"):
        parse_plan({"sedes": [0]})


def test_another_method_brings_its_own_head() -> None:
    run = {"method": {"kind": "dapt", "rank": 16}, "head": {"parts": ["cls", "prompt-mean"], "dropout": 0.2}}
    dapt, lora = (one.config for one in expand(parse_plan({"run": run, "methods": ["dapt", "lora"]})).members)
    assert dapt.head.parts == ("cls", "prompt-mean") and dapt.method.rank == 16  # type: ignore[union-attr]
    assert lora.head.parts is None and lora.head.dropout == 0.2


def test_data_are_told_apart_by_name_and_only_where_needed_by_settings(tmp_path: Path) -> None:
    for name in ("chairs", "lamps"):
        (tmp_path / name).mkdir()
    data = [{"kind": "folder", "path": str(tmp_path / name)} for name in ("chairs", "lamps")]
    assert [one.at["data"] for one in expand(parse_plan({"data": data})).members] == ["chairs", "lamps"]
    same = [{"kind": "demo", "scan": scan} for scan in ("gentle", "hard")]
    assert [one.at["data"] for one in expand(parse_plan({"data": same})).members] == [
        "demo scan=gentle",
        "demo scan=hard",
    ]


def outcomes() -> list[Outcome]:
    def one(method: str, seed: int, test: float | None, state: Any = "succeeded") -> Outcome:
        at = {"method": method, "data": "demo", "optim.lr": 0.001, "seed": seed}
        return Outcome(at=at, state=state, run=f"{method}{seed}", test=test, trainable=1000, seconds=10.0 + seed)

    return [
        one("dapt", 0, 0.90),
        one("dapt", 1, 0.94),
        one("adapter_x", 0, 0.80),
        one("adapter_x", 1, None, "failed"),
        one("=cmd", 0, None, "queued"),
    ]


def test_means_and_deviations_over_seeds() -> None:
    dapt, adapter, none = summarise(outcomes())
    assert dapt.test is not None and dapt.test.mean == pytest.approx(0.92)
    assert dapt.test.std == pytest.approx(0.0282842712)  # of the sample: sqrt(2 * 0.02² / 1)
    assert dapt.seconds == Stat(10.5, pytest.approx(0.7071067812), 2)
    assert adapter.test == Stat(0.80, None, 1) and (adapter.done, len(adapter.runs)) == (1, 2)
    assert none.test is None and dapt.memory is None and "seed" not in dapt.at
    assert varied(outcomes()) == ["method"]  # data and learning rate are the same in all


def test_csv_of_runs_and_of_means() -> None:
    runs = list(csv.DictReader(io.StringIO(runs_csv(outcomes()))))
    assert len(runs) == 5 and runs[1]["test"] == "0.94" and runs[3]["state"] == "failed"
    assert runs[4]["method"] == "'=cmd"  # no formula for a spreadsheet
    means = list(csv.DictReader(io.StringIO(means_csv(outcomes()))))
    assert float(means[0]["test_mean"]) == pytest.approx(0.92) and means[1]["test_std"] == ""
    assert (means[1]["runs"], means[1]["done"]) == ("2", "1")


def test_latex_is_escaped_and_marks_the_best() -> None:
    made = latex(outcomes())
    assert r"\textbf{$92.0 \pm 2.8$}" in made and r"adapter\_x" in made and made.count(r"\textbf") == 1
    assert made.count(r"\\") == 4 and r"test accuracy (\%)" in made
