"""The four ways to train fit every method and backbone, leave the data alone, and say what they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pointsmith.core.config import RunConfig, choices, parse_config
from pointsmith.core.errors import UserError
from pointsmith.core.recipes import recipe, recipes
from pointsmith.core.training import train
from pointsmith.core.training.aims import aims, differences, published

from tests.support.tiny import tiny_run


def runs() -> list[RunConfig]:
    found: list[RunConfig] = []
    for backbone in ("demo", "point-mae", "point-m2ae", "vit-b16"):
        cls = choices("backbone")[backbone]
        images = cls.modality == "images"  # type: ignore[attr-defined]
        data: dict[str, Any] = {"kind": "images", "path": "/photos"} if images else {"kind": "demo"}
        for method in choices("method"):
            try:
                content = {"backbone": {"kind": backbone}, "method": {"kind": method}, "data": data}
                found.append(parse_config(content))
            except UserError:
                continue
    return found


@pytest.mark.parametrize("key", list(aims()))
def test_every_run_stays_a_run_on_the_same_data(key: str) -> None:
    done = 0
    for run in runs():
        try:
            after = aims()[key].apply(run)
        except UserError as error:
            assert key == "paper" and "No recipe here" in str(error)
            continue
        done += 1
        assert (after.data, after.backbone, after.method.kind) == (run.data, run.backbone, run.method.kind)
        assert after.select != "test"
        assert key == "paper" or after.method == run.method
    assert done > 20


def test_paper_is_the_recipe_itself_on_its_own_data() -> None:
    for name in ("dapt-scan-hardest", "idpt-modelnet40", "adapter-x-vtab"):
        wanted = recipe(name).config()
        start = wanted.model_copy(update={"epochs": 3, "optim": RunConfig().optim, "select": "last"})
        found = aims()["paper"].apply(start)
        assert published(start) == recipes()[name]
        assert found == wanted


def test_small_memory_keeps_the_step_and_slices_it() -> None:
    run = RunConfig(batch_size=32, accumulate=4, recompute=True)
    small = aims()["memory"].apply(run)
    assert (small.batch_size, small.memory, small.accumulate, small.recompute) == (32, "two-phase", 1, False)
    assert small.epochs == run.epochs and small.optim == run.optim
    for key in ("quick", "accuracy"):
        assert aims()[key].apply(small).memory == "auto"


def test_where_slices_are_not_exact_blocks_are_recomputed(tmp_path: Path) -> None:
    for kind, way in (("dapt", "two-phase"), ("idpt", "recompute")):
        method = {"kind": kind, **({"neighbours": 4} if kind == "idpt" else {})}
        run = aims()["memory"].apply(tiny_run(method, epochs=1))
        plan = next(event for event in train(run, tmp_path / kind, device="cpu") if event.kind == "plan")
        assert plan.memory == way


def test_differences_are_named() -> None:
    told = differences(RunConfig(), RunConfig(epochs=3))
    assert told == [("epochs", 10, 3)]
