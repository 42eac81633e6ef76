"""Clouds whose points are labelled: each point with the part of the object that it is of.

Shapes: S clouds, N points. The clouds of files that have different numbers of points are filled up to the largest by
repeating some; a step draws the model's points from them. Memory: 13 bytes a point, with parts 14; ShapeNetPart's
14,007 clouds of up to 3,000 points take about 0.6 GB, and as much again while they are put together.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from .clouds import Clouds, Preparation, normalize, upright

if TYPE_CHECKING:
    import torch

    from .feed import CloudFeed

PartNames = tuple[tuple[str, ...], ...]
"""The parts of each category's objects. Parts are numbered from 0 through all categories, in this order."""


@dataclass(frozen=True)
class PartClouds(Clouds):
    """One split: clouds that are normalised already, and `parts` (S, N) uint16, the number of each point's part."""

    parts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint16))

    def take(self, index: np.ndarray) -> PartClouds:
        chosen: list[int] = index.tolist()
        names = tuple(self.names[i] for i in chosen)
        return PartClouds(self.points[index], self.labels[index], names, parts=self.parts[index])

    def digests(self) -> list[bytes]:
        clouds, parts = super().digests(), self.parts.astype("<u2")
        return [hashlib.sha256(one + own.tobytes()).digest() for one, own in zip(clouds, parts, strict=True)]

    def feed(self, device: torch.device) -> CloudFeed:
        """Return batches (B, N, 4) float32: coordinates, and the number of the part, which float32 holds exactly."""
        from .feed import CloudFeed

        labelled = np.concatenate([self.points, self.parts[..., None].astype(np.float32)], axis=2)
        return CloudFeed(Clouds(labelled, self.labels, self.names), device)


def gathered(
    clouds: Sequence[np.ndarray], parts: Sequence[np.ndarray], labels: Sequence[int], names: Sequence[str]
) -> PartClouds:
    """Return clouds (N, 3) of different sizes as one array, as large as the largest; some points come twice then."""
    size = max(map(len, clouds), default=0)
    points = np.empty((len(clouds), size, 3), np.float32)
    numbers = np.empty((len(clouds), size), np.uint16)
    for i, (cloud, own) in enumerate(zip(clouds, parts, strict=True)):
        repeated = _rng(names[i]).integers(len(cloud), size=size - len(cloud))
        index = np.concatenate([np.arange(len(cloud)), repeated])
        points[i], numbers[i] = cloud[index], own[index]
    return PartClouds(points, np.asarray(labels, np.int64), tuple(names), parts=numbers)


def prepared(points: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Return a whole cloud (N, 3) turned upright and normalised by all of its points, before any are left out."""
    return normalize(upright(points, preparation.up), preparation.normalize)


def judged(clouds: PartClouds, count: int) -> PartClouds:
    """Return `count` points of each cloud: any, but the same ones each time, or all and some twice."""
    have = clouds.points.shape[1]
    if have == count:
        return clouds
    index = np.empty((len(clouds), count), np.int64)
    for i, name in enumerate(clouds.names):
        order = _rng(name).permutation(have)
        index[i] = order[:count] if count <= have else np.resize(order, count)
    rows = np.arange(len(clouds))[:, None]
    return replace(clouds, points=clouds.points[rows, index], parts=clouds.parts[rows, index])


def first_parts(part_names: PartNames) -> list[int]:
    """Return the number of each category's first part."""
    return [0, *accumulate(len(names) for names in part_names)][:-1]


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode("utf-8", "surrogateescape")))


def joined(clouds: Sequence[PartClouds]) -> PartClouds:
    """Return several splits, of one number of points, as one."""
    names = tuple(name for one in clouds for name in one.names)
    points, labels, parts = ([getattr(one, key) for one in clouds] for key in ("points", "labels", "parts"))
    return PartClouds(np.concatenate(points), np.concatenate(labels), names, parts=np.concatenate(parts))


Naming = tuple[tuple[str, ...], PartNames]
"""The names of categories and of their parts, in the order of their numbers."""


def renumbered(clouds: PartClouds, old: Naming, new: Naming) -> PartClouds:
    """Return clouds with the numbers that `new` has for the names of `old`; every name of `old` is in `new`."""
    if old == new:
        return clouds
    categories, first = [new[0].index(name) for name in old[0]], first_parts(new[1])
    parts = [first[to] + new[1][to].index(part) for own, to in zip(old[1], categories) for part in own]
    return replace(
        clouds,
        labels=np.array(categories, np.int64)[clouds.labels],
        parts=np.array(parts, np.uint16)[clouds.parts],
    )
