"""What was written about a run becomes that run again, and nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pointsmith.core.adapters import describe, save_adapter
from pointsmith.core.building import build
from pointsmith.core.config import parse_config
from pointsmith.core.errors import UserError
from pointsmith.core.recipes import recipe, recipes
from pointsmith.core.reread import MOST_BYTES, reread

from tests.support.tiny import tiny_run


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_files_of_an_adapter_and_its_yaml(tmp_path: Path) -> None:
    run = tiny_run(epochs=7)
    built = build(run, 3)
    save_adapter(tmp_path / "adapter", built, describe(built, run, ("a", "b", "c")))
    for name in ("adapter_config.json", "README.md"):
        assert reread(tmp_path / "adapter" / name) == run
    assert reread(written(tmp_path, "run.yaml", run.to_yaml())) == run
    assert reread(written(tmp_path, "run.json", json.dumps(run.model_dump(mode="json")))) == run
    with pytest.raises(UserError, match=r"adapter_config\.json or README\.md"):
        reread(tmp_path / "adapter" / "config.json")


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("method: lora", {"method": {"kind": "lora"}}),
        ("method: {kind: lora, rank: 3}", {"method": {"kind": "lora", "rank": 3}}),
        ("method: {rank: 3}", {"method": {"kind": "dapt", "rank": 3, "dropout": 0.0}}),
        ("method: {rank: 3}\nmethod.rank: 4", {"method": {"kind": "dapt", "rank": 4, "dropout": 0.0}}),
        ("epochs: 3\nselect: last", {"epochs": 3, "select": "last"}),
    ],
)
def test_a_recipe_changed_in_every_way_to_write_it(tmp_path: Path, text: str, changed: dict[str, Any]) -> None:
    expected = parse_config(recipe("demo").config().to_dict() | changed)
    assert reread(written(tmp_path, "a.yaml", f"like: demo\n{text}")) == expected


@pytest.mark.parametrize("name", list(recipes()))
def test_recipes_as_they_are_shipped(name: str) -> None:
    assert reread(recipe(name).path) == recipe(name).config()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "- 1\n- 2", "tells of no run"),
        ("a.yaml", "epochs: [", "line 1, column"),
        ("a.yaml", "epoch: 3", "unknown key epoch"),
        ("a.yaml", "a: &a [1]\nb: [*a, *a]", "aliases"),
        ("a.yaml", "like: ../../etc/passwd", "Unknown recipe"),
        ("a.yaml", "like: demo\n1: 2", "1"),
        ("a.yaml", "like: demo\nseed: 2020-01-01", "seed"),
        ("a.yaml", "run: {}\nseeds: [1, 2]", "plan of a sweep"),
        ("a.yaml", "x" * (MOST_BYTES + 1), "too long"),
        ("a.json", "[" * 100_000, "64,000"),
        ("a.yaml", "[" * 50_000, "20 levels"),
        ("a.yaml", "- " * 20_000, "20 levels"),
        ("a.md", "# A card\n```yaml\nfront: 1\n```\n", "tells of no run"),
    ],
)
def test_what_is_no_run(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        reread(written(tmp_path, name, text))


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UserError, match="is no text"):
        reread(tmp_path / "a.yaml")
