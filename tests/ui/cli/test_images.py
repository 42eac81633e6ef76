"""The command line with images: train, predict, evaluate, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

Call = Callable[..., Result]
VIT = {"weights": "random", "image_size": 16, "patch_size": 8, "dim": 24, "depth": 2, "heads": 2}
TINY = [
    *("--backbone", "vit-b16", "--method", "full"),
    *(word for key, value in VIT.items() for word in ("--set", f"backbone.{key}={value}")),
    *("--epochs", "4", "--batch-size", "4", "--lr", "0.003", "--device", "cpu"),
]
SMALL = ["--set", "data.preparation.size=16", "--set", "data.validation=0.25"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with dark and light pictures, ten each."""
    rng = np.random.default_rng(0)
    for name, low in {"dark": 0, "light": 180}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(low, low + 70, (18, 22, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def refused(result: Result, *said: str) -> None:
    assert result.exit_code == 2, result.output
    assert all(words in result.stderr for words in said), result.stderr


def test_train_predict_evaluate(call: Call, photos: Path, tmp_path: Path) -> None:
    done = call("train", "--data", photos, *TINY, *SMALL, "--out", "run")
    assert done.exit_code == 0 and "Test accuracy 100.0 %" in done.output, done.output

    found = call("predict", "run/adapter", photos / "dark/1.png", photos / "light/2.png", "--json")
    rows = json.loads(found.stdout)
    assert [row["label"] for row in rows] == ["dark", "light"] and rows[0]["image"].endswith("dark/1.png")

    scores = json.loads(call("evaluate", "run/adapter", "--json").stdout)
    assert (scores["split"], scores["images"], scores["accuracy"]) == ("test", 4, 1.0)
    assert "warning" not in call("evaluate", "run/adapter").stderr

    lines = [f"photos/light/{i}.png,light" for i in range(3)] + [f"photos/dark/{i}.png,dark" for i in range(2)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    shown = call("evaluate", "run/adapter", "--data", tmp_path / "list.csv", "--json")
    scores = json.loads(shown.stdout)
    assert (scores["split"], scores["images"], scores["accuracy"]) == ("all", 5, 1.0)

    (tmp_path / "scan.ply").touch()
    refused(call("predict", "run/adapter", tmp_path / "scan.ply"), "scan.ply")
    (tmp_path / "torn.jpg").write_bytes(b"no image")
    refused(call("predict", "run/adapter", tmp_path / "torn.jpg"), "torn.jpg")
    refused(call("evaluate", "run/adapter", "--data", "demo"), "images", "points")


def test_a_vit_without_images_is_refused(call: Call, shapes: Path) -> None:
    refused(call("train", *TINY), "images, vtab")
    refused(call("train", *TINY, "--data", shapes), "`folder`")


def test_an_image_is_refused_by_an_adapter_of_clouds(call: Call, shapes: Path, photos: Path) -> None:
    clouds = ["--backbone", "own", "--method", "probe", "--set", "data.preparation.points=64"]
    sizes = {"dim": 24, "depth": 1, "heads": 2, "groups": 8, "group_size": 8, "widths": "[8,8,8]"}
    words = [word for key, value in sizes.items() for word in ("--set", f"backbone.{key}={value}")]
    trained = call("train", "--data", shapes, *clouds, *words, "--epochs", "1", "--device", "cpu", "--out", "run")
    assert trained.exit_code == 0, trained.output
    refused(call("predict", "run/adapter", photos / "dark/1.png"), "1.png")
