"""Points on a triangle mesh, uniform by area."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sample_surface(triangles: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` points (count, 3) float64 drawn uniformly by area from `triangles` (F, 3, 3).

    Every coordinate must be finite. Raises ValueError where the triangles have no area.
    """
    low = triangles.min(axis=(0, 1))
    size = float((triangles.max(axis=(0, 1)) - low).max())
    if not size > 0:
        raise ValueError("its surface has no area")
    # Areas are taken at unit size: the squares of very small or very large coordinates leave the range of a float.
    unit = (triangles - low) / size
    edge_b, edge_c = unit[:, 1] - unit[:, 0], unit[:, 2] - unit[:, 0]
    cumulative: NDArray[np.float64] = np.cumsum(np.linalg.norm(np.cross(edge_b, edge_c), axis=1))
    if not cumulative[-1] > 0:
        raise ValueError("its surface has no area")
    # side="right" never lands on a triangle without area: its share of the line is empty. Without the last border
    # no draw, however rounded, falls behind the last triangle.
    drawn = rng.random(count) * float(cumulative[-1])
    chosen = np.searchsorted(cumulative[:-1], drawn, side="right")
    # A point of the unit square beyond the diagonal is folded back into the triangle: uniform, with no square root.
    weights = rng.random((2, count, 1))
    weights: np.ndarray = np.where(weights.sum(axis=0) > 1, 1 - weights, weights)
    points = unit[chosen, 0] + weights[0] * edge_b[chosen] + weights[1] * edge_c[chosen]
    return points * size + low
