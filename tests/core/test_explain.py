"""An explanation is what the model really did, patch by patch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pointsmith.core.errors import UserError
from pointsmith.core.explain import explain
from pointsmith.core.predict import Predictor
from pointsmith.core.training import train

from tests.support.tiny import VIT, tiny_run


def predictor(tmp_path: Path, **method) -> Predictor:
    list(train(tiny_run(method, epochs=1), tmp_path, device="cpu"))
    return Predictor.load(tmp_path / "adapter")


def cloud() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)


def test_a_router_s_gates_by_patch(tmp_path: Path) -> None:
    asked = predictor(tmp_path, kind="dapt-x", rank=4)
    plain = asked.predict([cloud()])[0]
    found = explain(asked, cloud())
    assert found.gates is not None and found.lead_gates is not None and found.scales is None
    assert found.gates.shape == (2, 8, 3, 4) and found.lead_gates.shape == (2, 3, 4)
    assert np.allclose(found.gates.sum(-1), 1, atol=1e-5)
    assert np.array_equal(found.answer.probabilities, plain.probabilities)
    assert found.experts is not None and found.experts.shape == (2, 8)
    assert (found.experts == found.gates.sum(axis=2).argmax(axis=2)).all()


def test_the_patches_of_an_image_are_a_grid(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(6):
            pixels = draw.integers(0, 128, (24, 24, 3)) + (127 if label == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / label / f"{i}.png")
    data = {"kind": "images", "path": str(tmp_path / "pictures"), "preparation": {"size": 24}, "validation": 0.25}
    run = tiny_run({"kind": "adapter-x", "rank": 4}, backbone=VIT, data=data, epochs=1, batch_size=4)
    list(train(run, tmp_path / "run", device="cpu"))
    found = explain(Predictor.load(tmp_path / "run" / "adapter"), draw.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    assert found.grid == (3, 3) and found.gates is not None and found.gates.shape == (2, 9, 3, 4)


def test_dapt_s_scales_by_patch(tmp_path: Path) -> None:
    found = explain(predictor(tmp_path, kind="dapt", rank=4), cloud())
    assert found.gates is None and found.scales is not None and found.scales.shape == (2, 8)
    assert found.lead_scales is not None and found.lead_scales.shape == (2,) and (found.scales >= 0).all()
    assert found.scales.std() > 0 and found.grid is None


def test_other_methods_have_nothing_to_explain(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="decides nothing token by token"):
        explain(predictor(tmp_path, kind="lora", rank=2), cloud())
