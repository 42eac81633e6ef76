"""The Predict tab with an adapter of parts: colours beside the truth, a legend, a category for what is uploaded."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pointsmith.core.predict import Predictor
from pointsmith.core.training import train
from pointsmith.ui.predict_page import Chosen, PredictPage
from pointsmith.ui.viewer import LIMIT, payload, with_parts

from tests.support.part_sets import run_on, write_tools


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    root = tmp_path_factory.mktemp("parts")
    run = run_on(write_tools(root / "tools"), epochs=1)
    list(train(run, root / "run", device="cpu"))
    return root, run


def numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u2")


def test_a_sample_shows_its_parts_beside_the_true_ones(trained, page: PredictPage, monkeypatch) -> None:
    root, run = trained
    chosen = Chosen(Predictor.load(root / "run" / "adapter"), run)
    monkeypatch.setattr(page, "_load", lambda *_: chosen)
    drawn, _, said, _ = page.sample(None, "", "lollipop")
    assert len(numbers(drawn["parts"])) == len(numbers(drawn["truth"])) == 64
    assert set(numbers(drawn["truth"]).tolist()) == {0, 1} and len(drawn["partColours"]) == 2
    assert "stick" in said and "ball" in said and "mIoU of this cloud" in said and said.count("ps-swatch") == 2


def test_an_upload_is_answered_for_its_category(trained, page: PredictPage, tmp_path: Path) -> None:
    root, _ = trained
    folder = str(root / "run" / "adapter")
    shutil.copy(root / "tools" / "hammer" / "1.txt", tmp_path / "mine.txt")
    drawn, _, said, _ = page.uploaded(None, folder, str(tmp_path / "mine.txt"), "lollipop")
    assert drawn["truth"] is None and len(numbers(drawn["parts"])) == 96
    assert "lollipop" in said and "not known" in said
    _, _, said, _ = page.sample(None, folder, None)
    assert "brings no labelled clouds" in said


def test_the_tab_asks_for_a_category(trained, page: PredictPage) -> None:
    folder = str(trained[0] / "run" / "adapter")
    *_, category = page.fit(None, folder, "lollipop")
    assert category["visible"] and category["choices"] == ["hammer", "lollipop"] and category["value"] == "lollipop"
    *_, category = page.fit(None, None, None)  # type: ignore[arg-type]
    assert category["visible"] is False


def test_of_a_large_cloud_parts_and_points_are_thinned_alike() -> None:
    count = LIMIT + 7
    points = np.c_[np.arange(count), np.zeros((count, 2))].astype(np.float32)
    drawn = with_parts(payload(points, count), ("leg", "seat"), np.arange(count) % 2)
    shown = numbers(drawn["points"]).reshape(-1, 3)[:, 0].astype(float) * (count - 1) / 65535
    assert len(numbers(drawn["parts"])) == len(shown) == LIMIT and drawn["truth"] is None
    kept = np.linspace(0, count - 1, LIMIT).astype(int)
    assert np.abs(shown - kept).max() < 2 and np.array_equal(numbers(drawn["parts"]), kept % 2)
