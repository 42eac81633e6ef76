"""A map of feature vectors in the plane: exact t-SNE (van der Maaten and Hinton, JMLR 2008), for up to a thousand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import UserError

MOST = 1000
_EXAGGERATED = 120
"""Iterations with early exaggeration."""
_TINY = 1e-12


def tsne(features: NDArray[np.float64], *, perplexity: float = 30.0, iterations: int = 600) -> NDArray[np.float64]:
    """Return places (S, 2) of features (S, D), centred; the same for the same features.

    The perplexity is lowered to a third of S - 1 where it is higher. Starts from the first two principal components
    (Kobak and Berens, Nature Communications 2019). UserError for fewer than 5 or more than `MOST` vectors.
    """
    count = len(features)
    if not 5 <= count <= MOST:
        raise UserError("A feature map needs more or fewer inputs", got=count, expected=f"5 to {MOST}")
    wanted = affinities(features, min(perplexity, (count - 1) / 3))
    places = _principal(features)
    rate = max(count / 48, 50.0)
    speed, gains = np.zeros_like(places), np.ones_like(places)
    for step in range(iterations):
        early = step < _EXAGGERATED
        slope = _slope(wanted * 12 if early else wanted, places)
        gains = np.where((slope > 0) == (speed > 0), gains * 0.8, gains + 0.2).clip(0.01)
        speed = (0.5 if early else 0.8) * speed - rate * gains * slope
        places = places + speed
        places -= places.mean(axis=0)
    return places


def affinities(features: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """Return the symmetric joint probabilities (S, S) of features, each row's width chosen to give the perplexity."""
    rows = conditionals(squared_distances(features), perplexity)
    joint = np.add(rows, np.swapaxes(rows, 0, 1))
    return np.maximum(joint / joint.sum(), _TINY)


def conditionals(squared: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """Return p(j | i) (S, S) of squared distances: Gaussians whose entropy is log(perplexity), by bisection."""
    count = len(squared)
    away = squared + np.where(np.eye(count, dtype=bool), np.inf, 0.0)
    away = away - away.min(axis=1, keepdims=True)  # a common factor of the row: it cancels, and nothing underflows
    low, high = np.zeros((count, 1)), np.full((count, 1), np.inf)
    scale = np.median(away[np.isfinite(away)]) or 1.0
    beta = np.full((count, 1), 1 / scale)
    rows = np.zeros_like(away)
    for _ in range(64):
        weights = np.exp(-away * beta)
        rows = weights / weights.sum(axis=1, keepdims=True)
        entropy = -(rows * np.log(np.maximum(rows, _TINY))).sum(axis=1, keepdims=True)
        wide = entropy > np.log(perplexity)  # too wide a Gaussian: its inverse width must grow
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), beta * 2, (low + np.minimum(high, 1e300)) / 2)
    return rows


def divergence(wanted: NDArray[np.float64], places: NDArray[np.float64]) -> float:
    """Return what t-SNE makes small: the Kullback-Leibler divergence of the places' probabilities from the wanted."""
    return float((wanted * np.log(wanted / _heavy(places)[1])).sum())


def _slope(wanted: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel, joint = _heavy(places)
    pull = (wanted - joint) * kernel
    return 4 * (pull.sum(axis=1, keepdims=True) * places - pull @ places)


def _heavy(places: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (1 / (1 + squared distance) (S, S) without the diagonal, the joint probabilities made of it)."""
    kernel = 1 / (1 + squared_distances(places))
    np.fill_diagonal(kernel, 0.0)
    return kernel, np.maximum(kernel / kernel.sum(), _TINY)


def squared_distances(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (S, S) of vectors (S, D)."""
    norms = (x * x).sum(axis=1)
    return np.maximum(norms[:, None] + norms[None] - 2 * np.inner(x, x), 0.0)


def _principal(features: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = features - features.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = (left * sizes)[:, :2]
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    return 1e-4 * places / (places[:, 0].std() or 1.0)
