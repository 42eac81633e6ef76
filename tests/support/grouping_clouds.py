"""Clouds that break careless point grouping, and the brute-force search that judges it."""

from __future__ import annotations

import numpy as np
import torch


def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        d = (a - b) ** 2
        return (d[..., 0] + d[..., 1]) + d[..., 2]


def brute_force(points: np.ndarray, groups: int, size: int, skip_origin: bool) -> tuple[np.ndarray, np.ndarray]:
    """Centres in order; neighbours as sorted indices, the lowest index first among equal distances."""
    centres, index = [], []
    for cloud in points:
        running = np.full(len(cloud), np.inf, np.float32)
        if skip_origin:
            running[squared(cloud, np.zeros(3, np.float32)).astype(np.float64) <= 1e-3] = -1
        chosen = [0]
        while len(chosen) < groups:
            running = np.minimum(running, squared(cloud, cloud[chosen[-1]]))
            chosen.append(int(np.argmax(running)))
        centres.append(chosen)
        index.append([np.sort(np.argsort(squared(cloud, cloud[c]), kind="stable")[:size]) for c in chosen])
    return np.array(centres), np.array(index)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def line(clouds: int, count: int) -> np.ndarray:
    steps = np.random.default_rng(5).permuted(np.tile(np.arange(count, dtype=np.float32), (clouds, 1)), axis=1)
    return steps[..., None] * np.array([1, 2, -1], np.float32)


CLOUDS = {
    "random": (normal(3, 300, 3), 40, 16),
    "one cloud": (normal(1, 500, 3), 20, 32),
    "many points": (normal(1, 5000, 3), 10, 32),
    "large groups": (normal(2, 700, 3), 5, 400),
    "duplicated": (np.tile(normal(2, 40, 3), (1, 8, 1)), 60, 20),
    "all equal": (np.full((2, 260, 3), 0.3, np.float32), 9, 33),
    "integer grid": (np.random.default_rng(1).integers(0, 5, (2, 400, 3)).astype(np.float32), 50, 24),
    "collinear": (line(2, 257), 30, 12),
    "far away": (normal(2, 300, 3) * np.float32(0.01) + np.float32(1e3), 40, 16),
    "tiny": (normal(2, 5, 3), 5, 5),
    "single point": (normal(4, 1, 3), 1, 1),
    "near the origin": (normal(2, 400, 3) * np.float32(0.03), 40, 8),
    "nothing but origin": (normal(2, 50, 3) * np.float32(1e-3), 4, 3),
    "huge": (normal(2, 200, 3) * np.float32(1e30), 12, 7),
}


def at_the_threshold() -> torch.Tensor:
    """A cloud of the origin and two points whose squared norms are one float below 1e-3's, and that float itself."""
    edge = np.float32(1e-3)
    candidates = np.random.default_rng(2).normal(0, 0.02, (200000, 3)).astype(np.float32)
    candidates *= (np.sqrt(1e-3) / np.linalg.norm(candidates, axis=1, keepdims=True)).astype(np.float32)
    squares = squared(candidates, np.zeros(3, np.float32))
    below, at = candidates[squares == np.nextafter(edge, np.float32(0))][0], candidates[squares == edge][0]
    points = torch.zeros(1, 3, 3)
    points[0, 1], points[0, 2] = torch.from_numpy(below), torch.from_numpy(at)
    return points
