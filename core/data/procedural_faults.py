"""What a scanner does to an object: one-sided views, occlusion, background, noise and uneven density."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from ..schema import Config
from .procedural_solids import extent, sample, unit


class Faults(Config):
    """How far a generated cloud is from a clean one; lengths are relative to the object's radius."""

    view: float = Field(default=0.5, ge=0, le=1, description="share of clouds seen from one random camera only")
    occlusion: float = Field(default=0.2, ge=0, le=0.9, description="largest share of an object that something hides")
    background: float = Field(
        default=0.1, ge=0, le=0.9, description="largest share of points from floor, wall or clutter"
    )
    noise: float = Field(default=0.01, ge=0, le=0.5, description="largest standard deviation of the points' positions")
    uneven: float = Field(
        default=0.5, ge=0, le=1, description="largest unevenness of density; at 1 some parts are nearly empty"
    )
    turn: float = Field(
        default=25.0, ge=0, le=180, description="largest rotation about the vertical, degrees to either side"
    )

    @classmethod
    def none(cls) -> Faults:
        """Return the clean case: whole objects, all facing the same way."""
        return cls(view=0, occlusion=0, background=0, noise=0, uneven=0, turn=0)


def scan(triangles: np.ndarray, count: int, faults: Faults, rng: np.random.Generator) -> np.ndarray:
    """Return `count` points (count, 3) of an object (T, 3, 3) of about radius one, with the faults but not turned."""
    seen_once = rng.random() < faults.view
    loses = bool(seen_once or faults.occlusion or faults.uneven)
    pool = sample(triangles, count * (4 if seen_once else 2 if loses else 1), rng)
    keep = np.ones(len(pool), dtype=bool)
    if seen_once:
        keep &= visible(pool, _camera(rng))
    if faults.occlusion:
        keep &= ~hidden(pool, keep, faults.occlusion * rng.random(), rng)
    if faults.uneven:
        keep &= rng.random(len(pool)) < _density(pool, faults.uneven * rng.random(), rng)
    behind = int(count * faults.background * rng.random())
    # The pool is in random order, so its first points are a fair draw, and one point more or less moves no other.
    kept = np.flatnonzero(keep)
    if len(kept) == 0:
        kept = np.arange(len(pool))
    points = pool[np.resize(kept, count - behind)]
    if behind:
        points = np.concatenate([points, background(points, behind, rng)])
    if faults.noise:
        points = points + rng.standard_normal(points.shape) * (faults.noise * rng.random())
    return points


def visible(points: np.ndarray, camera: np.ndarray, margin: float = 0.12) -> np.ndarray:
    """Return which points (M, 3) a camera at (3,) sees, (M,) bool, by a depth buffer of about seven points a cell."""
    forward = unit(points.mean(axis=0) - camera)
    right = unit(np.array([forward[2], 1e-9, -forward[0]]))
    up = np.array(
        [
            forward[1] * right[2] - forward[2] * right[1],
            forward[2] * right[0] - forward[0] * right[2],
            forward[0] * right[1] - forward[1] * right[0],
        ]
    )
    local = (points - camera) @ np.stack([right, up, forward], axis=-1)
    depth = np.maximum(local[:, 2], 1e-6)
    across, above = local[:, 0] / depth, local[:, 1] / depth
    left, bottom = across.min(), above.min()
    side = 2 * int(np.sqrt(len(points) / 28)) + 2
    scale = side * 0.999 / max(float(across.max() - left), float(above.max() - bottom), 1e-9)
    index = ((across - left) * scale).astype(np.int64) * side + ((above - bottom) * scale).astype(np.int64)
    nearest = np.full(side * side, np.inf)
    np.minimum.at(nearest, index, depth)
    # Where a cell caught no near point by chance, its block of four still knows that something is in front.
    block = nearest.reshape(side // 2, 2, side // 2, 2).min(axis=(1, 3)) + 2 * margin
    limit = np.minimum(nearest + margin, block.repeat(2, axis=0).repeat(2, axis=1).ravel())
    return depth < limit[index]


def hidden(points: np.ndarray, present: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return which points (M,) something in front hides: `share` of those present, in a ball or behind a plane."""
    candidates = np.flatnonzero(present)
    if len(candidates) == 0:
        return np.zeros(len(points), dtype=bool)
    if rng.random() < 0.5:
        away = points - points[candidates[0]]
        measure = np.einsum("ij,ij->i", away, away)
    else:
        measure = points @ unit(rng.standard_normal(3))
    rank = min(int(share * len(candidates)), len(candidates) - 1)
    return measure < np.partition(measure[candidates], rank)[rank]


def background(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` points (count, 3) of floor, wall and clutter inside the slightly widened box of an object."""
    low, high = extent(points)
    reach = 0.05 + 0.15 * rng.random()
    size = np.maximum(high - low, 0.2) * (1 + 2 * reach)
    base = (low + high) / 2 - size / 2
    drawn = base + rng.random((count, 3)) * size
    which = rng.random(count)
    floor, wall = rng.random(2)
    if rng.random() < 0.25:
        floor = 0.0
    if rng.random() < 0.5:
        wall = 0.0
    stray = 0.05 + 0.3 * rng.random()
    bounds = np.cumsum([floor, wall, stray])
    which = which * bounds[-1]
    on_floor = which < bounds[0]
    on_wall = (which >= bounds[0]) & (which < bounds[1])
    drawn[on_floor, 1] = low[1]
    axis = 0 if rng.random() < 0.5 else 2
    side = -1.0 if rng.random() < 0.5 else 1.0
    drawn[on_wall, axis] = (base + size / 2)[axis] + side * size[axis] / 2
    clutter = ~(on_floor | on_wall)
    lumps = base + rng.random((3, 3)) * size
    around = rng.standard_normal((count, 3))
    # A few small balls rather than loose dust: neighbours leave lumps in a crop.
    ball = lumps[(rng.random(count) * 3).astype(np.int64)] + unit(around) * 0.12 * size.mean() * rng.random()
    drawn[clutter] = ball[clutter]
    return drawn


def _camera(rng: np.random.Generator) -> np.ndarray:
    around = 2 * np.pi * rng.random()
    above = np.deg2rad(-10 + 65 * rng.random())
    distance = 2.5 + 2.5 * rng.random()
    return distance * np.array([np.cos(around) * np.cos(above), np.sin(above), np.sin(around) * np.cos(above)])


def _density(points: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    along = points @ unit(rng.standard_normal(3))
    low = float(along.min())
    return 1 - strength * (along - low) / max(float(along.max()) - low, 1e-9)
