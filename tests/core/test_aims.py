"""The four ways to train fit every method and backbone, leave the data alone, and say what they change."""

from __future__ import annotations

from typing import Any

import pytest
from pointsmith.core.config import RunConfig, choices, parse_config
from pointsmith.core.errors import UserError
from pointsmith.core.recipes import recipe, recipes
from pointsmith.core.training.aims import aims, differences, published


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


def test_small_memory_keeps_the_step_and_cuts_it() -> None:
    run = RunConfig(batch_size=32)
    small = aims()["memory"].apply(run)
    assert (small.batch_size, small.accumulate, small.recompute) == (32, 4, True)
    assert small.epochs == run.epochs and small.optim == run.optim
    assert aims()["memory"].apply(RunConfig(batch_size=3)).accumulate == 1


def test_differences_are_named() -> None:
    told = differences(RunConfig(), RunConfig(epochs=3))
    assert told == [("epochs", 10, 3)]
