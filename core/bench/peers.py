"""Other people's samplers and neighbour searches, called as their documents say; what is not installed is left out.

Each takes clouds (B, N, 3) float32 and a number of groups and answers centre indices (B, G), and neighbour indices
(B, G, K) where it searches them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

Sampler = Callable[[Tensor, int], Tensor]
Grouper = Callable[[Tensor, int, int], "tuple[Tensor, Tensor]"]


def samplers() -> tuple[dict[str, Sampler], list[str]]:
    """Return the installed samplers of farthest points, and the names of the others."""
    missing: list[str] = []
    found: dict[str, Sampler] = {}
    if fpsample := _package("fpsample", missing):

        def vanilla(points: Tensor, groups: int) -> Tensor:
            chosen = [fpsample.fps_sampling(cloud, groups, start_idx=0) for cloud in points.numpy()]
            return torch.from_numpy(np.stack(chosen).astype(np.int64))

        found["fpsample vanilla"] = vanilla
    if torch_fps := _package("torch_fps", missing):

        def compiled(points: Tensor, groups: int) -> Tensor:
            valid, start = _all_from_first(points)
            return torch_fps.farthest_point_sampling(points, valid, groups, start_idx=start, assume_finite=True)

        found["torch-fps"] = compiled
    return found, missing


def groupers() -> tuple[dict[str, Grouper], list[str]]:
    """Return the installed pairs of sampler and neighbour search, and the names of the packages that are missing."""
    missing: list[str] = []
    found: dict[str, Grouper] = {}
    fpsample, trees = _package("fpsample", missing), _package("pykdtree.kdtree", missing)
    if fpsample and trees:

        def by_trees(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
            chosen: list[Any] = []
            index: list[Any] = []
            for cloud in points.numpy():
                chosen.append(fpsample.fps_sampling(cloud, groups, start_idx=0).astype(np.int64))
                index.append(trees.KDTree(cloud).query(cloud[chosen[-1]], k=size)[1].astype(np.int64))
            return torch.from_numpy(np.stack(chosen)), torch.from_numpy(np.stack(index))

        found["fpsample + pykdtree"] = by_trees
    if torch_fps := _package("torch_fps", missing):

        def fused(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
            valid, start = _all_from_first(points)
            return torch_fps.farthest_point_sampling_with_knn(
                points, valid, groups, size, start_idx=start, assume_finite=True
            )

        found["torch-fps with neighbours"] = fused
    return found, missing


def _all_from_first(points: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones(points.shape[:2], dtype=torch.bool), torch.zeros(len(points), dtype=torch.int64)


def _package(name: str, missing: list[str]) -> Any:
    try:
        return import_module(name)
    except ImportError:
        missing.append(name.partition(".")[0].replace("_", "-"))
        return None
