"""What an answer rests on is found by taking it away, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pointsmith.core.importance import importance
from pointsmith.core.predict import Predictor
from pointsmith.core.training import train

from tests.support.tiny import VIT, tiny_run


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("importance")
    list(train(tiny_run({"kind": "lora", "rank": 2}, epochs=1), folder, device="cpu"))
    return Predictor.load(folder / "adapter")


def test_each_patch_is_taken_away(predictor: Predictor) -> None:
    cloud = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    found = importance(predictor, cloud)
    plain = predictor.predict([cloud])[0]
    assert np.array_equal(found.answer.probabilities, plain.probabilities)
    assert found.loss.shape == (8,) and len(found.labels) == 8 and found.grid is None
    assert plain.patch is not None
    label = predictor.classes.index(plain.label)
    for number in range(8):
        rest = plain.inputs[plain.patch != number]
        missing = 64 - len(rest)
        filled = np.concatenate([rest, rest[np.linspace(0, len(rest) - 1, missing).astype(int)]])
        assert not (filled[:, None] == plain.inputs[plain.patch == number][None]).all(axis=2).any()
        without = predictor.predict([filled], raw=True)[0]
        assert found.loss[number] == pytest.approx(plain.probabilities[label] - without.probabilities[label], abs=1e-6)
        assert found.decisive[number] == (without.label != plain.label)
    assert np.abs(found.loss).max() > 1e-5


def test_a_patch_that_no_point_is_nearest_to_changes_nothing(predictor: Predictor) -> None:
    # Two places only: all but two patches have their centre where another one has.
    cloud = np.repeat([[0.0, 0, 0], [1, 1, 1]], 32, axis=0).astype(np.float32)
    found = importance(predictor, cloud)
    assert found.answer.patch is not None
    empty = sorted(set(range(8)) - set(found.answer.patch.tolist()))
    assert len(empty) == 6 and (found.loss[empty] == 0).all() and not found.decisive[empty].any()


def test_the_squares_of_an_image(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(6):
            pixels = draw.integers(0, 128, (24, 24, 3)) + (127 if label == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / label / f"{i}.png")
    data = {"kind": "images", "path": str(tmp_path / "pictures"), "preparation": {"size": 24}, "validation": 0.25}
    run = tiny_run({"kind": "lora", "rank": 2}, backbone=VIT, data=data, epochs=1, batch_size=4)
    list(train(run, tmp_path / "run", device="cpu"))
    asked = Predictor.load(tmp_path / "run" / "adapter")
    image = draw.integers(0, 255, (24, 24, 3), dtype=np.uint8)
    found = importance(asked, image)
    assert found.grid == (7, 7) and found.loss.shape == (49,)
    last = image.copy()
    last[20:, 20:] = image.reshape(-1, 3).mean(axis=0).round()
    label = asked.classes.index(found.answer.label)
    without = asked.predict([last], raw=True)[0].probabilities[label]
    assert found.loss[48] == pytest.approx(found.answer.probabilities[label] - without, abs=1e-6)
    plain = importance(asked, np.full((24, 24, 3), 90, np.uint8))
    assert np.abs(plain.loss).max() < 1e-6
