"""Clouds of more points than a model sees are thinned the way the published code does it.

Shapes: S clouds, N points. Coordinates are normalised before: the published sampler takes no point near the origin.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from ..errors import UserError
from .clouds import Clouds
from .config import BenchmarkData
from .dataset import Progress

Use = Literal["learn", "judge", "vote"]
_AT_ONCE = 256


def thinned(clouds: Clouds, config: BenchmarkData, use: Use, progress: Progress | None = None) -> Clouds:
    """Return `clouds` with the points that a run needs: to learn from, to judge with, or to vote with.

    Judged clouds have exactly `preparation.points`: the farthest, from the cloud's first point on. Voted ones have the
    pool of which these are the first. Those to learn from have the pool, from a seeded random point on, or all their
    points; each step draws from them. Raises UserError where clouds have too few points. Source: the released training
    code of Point-BERT, Point-MAE and DAPT.
    """
    have, need = clouds.points.shape[1], config.preparation.points
    if have < need:
        raise UserError(
            "These clouds have fewer points than wanted",
            got=need,
            expected=f"preparation.points of at most {have}",
        )
    keep = need if use == "judge" else min(have, config.pool)
    if keep == have or (use == "learn" and config.sampling != "farthest"):
        return clouds
    rng = np.random.default_rng([config.split_seed, 7])
    if config.sampling == "random":
        index = np.stack([rng.choice(have, keep, replace=False) for _ in range(len(clouds))])
        return replace(clouds, points=np.take_along_axis(clouds.points, index[:, :, None], axis=1))
    starts = rng.integers(have, size=len(clouds)) if use == "learn" else np.zeros(len(clouds), np.int64)
    points = np.empty((len(clouds), keep, 3), np.float32)
    for begin in range(0, len(clouds), _AT_ONCE):
        if progress:
            progress("choosing farthest points", begin, len(clouds))
        part = slice(begin, begin + _AT_ONCE)
        points[part] = farthest(clouds.points[part], keep, starts[part], skip_origin=True)
    return replace(clouds, points=points)


def farthest(points: np.ndarray, count: int, starts: np.ndarray, *, skip_origin: bool = False) -> np.ndarray:
    """Return the `count` farthest points of each cloud, (S, N, 3) to (S, count, 3), the first one at `starts` (S,)."""
    import torch  # here, because a process that only parses files does without it

    from ..models.grouping import farthest_points

    rolled = np.stack([np.roll(cloud, -int(start), axis=0) for cloud, start in zip(points, starts, strict=True)])
    chosen = farthest_points(torch.from_numpy(rolled), count, skip_origin=skip_origin).numpy()
    return np.take_along_axis(rolled, chosen[:, :, None], axis=1)
