"""The Predict tab with an adapter of images: a picture takes the viewer's place, and strangers' files are checked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pointsmith.core.config import parse_config
from pointsmith.core.training import train
from pointsmith.ui.predict_page import Chosen, PredictPage
from pointsmith.ui.samples import Samples

VIT = {"kind": "vit-b16", "weights": "random", "image_size": 16, "patch_size": 8, "dim": 24, "depth": 1, "heads": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """An adapter of dark and light pictures, and its run."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, low in {"dark": 0, "light": 180}.items():
        (root / "photos" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(low, low + 70, (18, 22, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / "photos" / name / f"{i}.png")
    data = {"kind": "images", "path": str(root / "photos"), "preparation": {"size": 16}, "validation": 0.25}
    run = parse_config({"backbone": VIT, "method": {"kind": "full"}, "data": data, "batch_size": 4, "epochs": 3})
    list(train(run, root / "run", device="cpu"))
    return root, run


def test_the_tab_fits_the_adapter(trained: tuple[Path, Any], page: PredictPage) -> None:
    folder = str(trained[0] / "run" / "adapter")
    menu, viewer, picture, clouds, images, _ = page.fit(None, folder, "light")
    assert menu["choices"] == ["any class", "dark", "light"] and menu["value"] == "light"
    assert [one["visible"] for one in (viewer, picture, clouds, images)] == [False, True, False, True]
    menu, viewer, picture, clouds, images, _ = page.fit(None, None, "light")  # type: ignore[arg-type]
    assert menu["value"] == "any class"
    assert [one["visible"] for one in (viewer, picture, clouds, images)] == [True, False, True, False]


def test_an_upload_is_answered_or_refused(trained: tuple[Path, Any], page: PredictPage, tmp_path: Path) -> None:
    root, _ = trained
    folder = str(root / "run" / "adapter")
    shutil.copy(root / "photos" / "light" / "1.png", tmp_path / "mine.png")
    _, picture, said, _ = page.uploaded(None, folder, str(tmp_path / "mine.png"))
    assert picture.size == (22, 18) and "mine.png" in said and "seen by the model as 16 × 16 pixels" in said
    assert not (tmp_path / "mine.png").exists()
    for name, reason in {"scan.ply": "this adapter reads images", "torn.jpg": "cannot be read as an image"}.items():
        (tmp_path / name).write_bytes(b"nothing")
        assert reason in page.uploaded(None, folder, str(tmp_path / name))[2]
    assert "Upload an image" in page.sample(None, folder, "dark")[2]


def test_samples_are_test_images_of_the_run(trained: tuple[Path, Any]) -> None:
    from pointsmith.core.data.load import load
    from pointsmith.core.predict import Predictor

    root, run = trained
    test = load(run.data).test
    assert test is not None
    drawn = Samples().draw(run, "dark")
    assert drawn.truth == "dark" and drawn.name in test.names and drawn.given.shape == (18, 22, 3)
    chosen = Chosen(Predictor.load(root / "run" / "adapter"), run)
    assert chosen.predictor.predict([drawn.given])[0].label in ("dark", "light")
