"""Points on a triangle mesh, uniform by area."""

from __future__ import annotations

import numpy as np


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
    cumulative = np.cumsum(np.linalg.norm(np.cross(edge_b, edge_c), axis=1))
    if not cumulative[-1] > 0:
        raise ValueError("its surface has no area")
    # side="right" never lands on a triangle without area: its share of the line is empty.
    chosen = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    chosen = np.minimum(chosen, len(triangles) - 1)
    # A point of the unit square beyond the diagonal is folded back into the triangle: uniform, with no square root.
    b, c = rng.random((2, count))
    folded = b + c > 1
    b, c = np.where(folded, 1 - b, b), np.where(folded, 1 - c, c)
    points = unit[chosen, 0] + b[:, None] * edge_b[chosen] + c[:, None] * edge_c[chosen]
    return points * size + low
