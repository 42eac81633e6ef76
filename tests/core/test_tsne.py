"""t-SNE does what it promises: widths that give the perplexity, clusters that stay apart, a divergence that falls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pointsmith.core.data.load import load
from pointsmith.core.errors import UserError
from pointsmith.core.features import feature_map
from pointsmith.core.predict import Predictor
from pointsmith.core.training import train
from pointsmith.core.tsne import _slope, affinities, conditionals, divergence, squared_distances, tsne

from tests.support.tiny import tiny_run


def clusters(each: int = 30, apart: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(4, 12)) * apart
    return np.concatenate([draw.normal(size=(each, 12)) + centre for centre in centres]), np.repeat(np.arange(4), each)


@pytest.mark.parametrize("perplexity", [5.0, 20.0])
def test_each_row_has_the_perplexity(perplexity: float) -> None:
    x = clusters()[0] * np.random.default_rng(1).uniform(0.1, 10, size=(120, 1))  # points of very unequal density
    rows = conditionals(squared_distances(x), perplexity)
    assert np.allclose(rows.sum(axis=1), 1) and np.allclose(np.diag(rows), 0)
    entropy = -(rows * np.log(np.maximum(rows, 1e-300))).sum(axis=1)
    assert np.allclose(np.exp(entropy), perplexity, rtol=1e-3)
    joint = affinities(x, perplexity)
    assert np.allclose(joint, joint.T) and joint.sum() == pytest.approx(1, abs=1e-4)


def test_clusters_stay_apart_and_the_divergence_falls() -> None:
    x, labels = clusters()
    places = tsne(x)
    assert places.shape == (120, 2) and np.allclose(places.mean(axis=0), 0, atol=1e-8)
    squared = squared_distances(places)
    np.fill_diagonal(squared, np.inf)
    assert (labels[squared.argmin(axis=1)] == labels).all()
    same = labels[:, None] == labels
    np.fill_diagonal(squared, 0)
    assert np.sqrt(squared[same].max()) < np.sqrt(squared[~same].min())
    wanted = affinities(x, 30)
    assert divergence(wanted, places) < 0.5 * divergence(wanted, tsne(x, iterations=5))
    assert np.array_equal(places, tsne(x))


def test_the_slope_is_that_of_the_divergence() -> None:
    x = clusters(each=4)[0]
    wanted, places = affinities(x, 3), np.random.default_rng(2).normal(size=(16, 2))
    slope, step = _slope(wanted, places), 1e-5
    for i, axis in ((0, 0), (7, 1), (15, 0)):
        moved = [places.copy(), places.copy()]
        moved[0][i, axis] += step
        moved[1][i, axis] -= step
        numeric = (divergence(wanted, moved[0]) - divergence(wanted, moved[1])) / (2 * step)
        assert slope[i, axis] == pytest.approx(numeric, rel=1e-4)


def test_too_few_are_refused() -> None:
    with pytest.raises(UserError, match="feature map"):
        tsne(np.zeros((4, 3)))


def test_equal_vectors_are_no_trouble() -> None:
    assert np.isfinite(tsne(np.ones((12, 3)), iterations=20)).all()


def test_a_run_before_and_after(tmp_path: Path) -> None:
    run = tiny_run({"kind": "dapt", "rank": 4}, epochs=1)
    list(train(run, tmp_path, device="cpu"))
    part = load(run.data, least=run.backbone.least_points).test
    assert part is not None
    found = feature_map(Predictor.load(tmp_path / "adapter"), run, part, most=20)
    assert found.before.shape == found.after.shape == (20, 2) and (found.labels == part.labels[found.index]).all()
    assert 0 <= found.agree_before <= 1 and 0 <= found.agree_after <= 1
