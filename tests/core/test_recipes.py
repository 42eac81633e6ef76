"""Every recipe is a run that can be built, and says aloud what publications differ in."""

from __future__ import annotations

from pathlib import Path

import pytest
from pointsmith.core.building import build, measure
from pointsmith.core.config import read_config, read_inherited
from pointsmith.core.errors import UserError
from pointsmith.core.presets import presets
from pointsmith.core.recipes import recipes

OURS = {"demo", "own-scans"}
PRESETS = {preset.name: preset for preset in presets()}


@pytest.mark.parametrize("name", sorted(recipes()))
def test_recipes_validate_and_build(name: str) -> None:
    recipe = recipes()[name]
    run = recipe.config()
    sizes = measure(run, PRESETS[name].classes if name in PRESETS else 15, 50 if run.data.answers == "parts" else 0)
    assert 0 < sizes.trainable <= sizes.total
    if name in PRESETS:
        preset = PRESETS[name]
        assert run.method == preset.run().method
        assert sizes.trainable - (0 if preset.with_head else sizes.head) == preset.count
    assert recipe.summary.endswith((".", "cores")) or len(recipe.summary) > 20


@pytest.mark.parametrize("name", sorted(set(recipes()) - OURS))
def test_published_recipes_say_how_they_augment_and_choose_the_epoch(name: str) -> None:
    content = read_inherited(recipes()[name].path)
    assert content["select"] == "test" and "TEST set" in recipes()[name].summary
    if recipes()[name].config().data.modality == "points":
        assert content["augment"]["kind"] in ("rotate", "scale-shift", "batch-scale-shift")
    assert (
        content["epochs"]
        and content["optim"]["schedule"] == "paper"
        and content["batch_size"] == {"vtab": 64, "shapenetpart": 16}.get(name.rpartition("-")[2], 32)
    )


def test_the_two_augmentations_on_scanobjectnn_are_both_there() -> None:
    kinds = {name: run.config().augment.kind for name, run in recipes().items()}
    assert kinds["dapt-scan-hardest"] == "scale-shift" and kinds["dapt-x-scan-hardest"] == "rotate"


def test_a_recipe_on_a_small_machine_really_builds() -> None:
    run = recipes()["dapt-x-scan-hardest"].config()
    small = run.model_copy(update={"backbone": run.backbone.model_copy(update={"weights": "random"})})
    assert build(small, 15).sizes.trainable == 418_067


def test_a_file_may_be_like_another(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("method: {kind: dapt, rank: 8}\noptim: {lr: 0.1, clip: 3}\nepochs: 4\n")
    (tmp_path / "b.yaml").write_text("like: a\noptim: {lr: 0.2}\n")
    (tmp_path / "c.yaml").write_text("like: b\nmethod: {kind: lora}\n")
    run = read_config(tmp_path / "c.yaml")
    assert (run.optim.lr, run.optim.clip, run.epochs, run.method.kind) == (0.2, 3, 4, "lora")
    (tmp_path / "a.yaml").write_text("like: c\n")
    with pytest.raises(UserError, match="like itself"):
        read_config(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("like: nowhere\n")
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        read_config(tmp_path / "b.yaml")
