"""Labelled clouds of one size in memory, and the preparation that a new cloud needs too.

Shapes: S clouds, N points; coordinates float32, labels int64.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from ..errors import UserError
from ..schema import Config

if TYPE_CHECKING:
    import torch

    from .feed import CloudFeed


Axis = Literal["y", "-y", "x", "-x", "z", "-z"]
"""An axis with its direction."""


class Preparation(Config):
    """How a raw cloud becomes the model's input; saved with the adapter, so that prediction does the same."""

    points: int = Field(default=1024, ge=16, le=65536, description="points per cloud that the model sees")
    normalize: Literal["none", "unit-sphere"] = Field(
        default="unit-sphere",
        description="unit-sphere: centre at the mean, divide by the largest norm; none: as they are",
    )
    up: Axis = Field(default="y", description="which axis of the files points up; clouds are turned so that it is y")


@dataclass(frozen=True)
class Clouds:
    """One split. `points` (S, N, 3) float32, already normalised; `labels` (S,) int64; `names` tell a person which.

    `forms` are there where copies are looked for: what `copy_form` made of each cloud as its file holds it.
    """

    points: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    forms: tuple[np.ndarray, ...] = ()
    noun: ClassVar[str] = "clouds"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Clouds:
        chosen: list[int] = index.tolist()
        return Clouds(
            self.points[index],
            self.labels[index],
            tuple(self.names[i] for i in chosen),
            tuple(self.forms[i] for i in chosen if self.forms),
        )

    def digests(self) -> list[bytes]:
        return [
            hashlib.sha256(int(label).to_bytes(8, "little") + cloud.astype("<f4").tobytes()).digest()
            for cloud, label in zip(self.points, self.labels, strict=True)
        ]

    def feed(self, device: torch.device) -> CloudFeed:
        from .feed import CloudFeed  # here, because a process that only parses files does without torch

        return CloudFeed(self, device)


class NotFinite(UserError):
    """Some coordinates are NaN or infinite."""


def check_cloud(points: np.ndarray, name: str, least: int = 1) -> np.ndarray:
    """Return (N, 3) float32 of `points`, or refuse: wrong shape, NaN or infinite values, fewer than `least` points."""
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 3:
        raise UserError(
            f"{name} is not a point cloud", got=tuple(points.shape), expected="an array of shape (N, 3) or wider"
        )
    points = np.ascontiguousarray(points[:, :3], dtype=np.float32)
    bad = int((~np.isfinite(points)).any(axis=1).sum())
    if bad:
        raise NotFinite(
            f"{name} has {bad} of {len(points)} points with NaN or infinite coordinates",
            expected="finite numbers",
            remedy="Remove those points and try again",
        )
    if len(points) < least:
        raise UserError(
            f"{name} has too few points",
            got=len(points),
            expected=f"at least {least}, which the model needs",
            remedy="Use a denser scan or a backbone with fewer groups",
        )
    return points


def upright(points: np.ndarray, up: str) -> np.ndarray:
    """Return clouds (…, 3) turned, never mirrored, so that what points along `up` points along y."""
    if up == "y":
        return points
    if up == "-y":
        return points * np.array([-1, -1, 1], points.dtype)
    fixed = "xyz".index(up[-1])
    # A turn in the plane of y and the axis; the third axis stays.
    sign = 1 if up[0] != "-" else -1
    turned: np.ndarray = np.array(points)
    turned[..., 1], turned[..., fixed] = sign * points[..., fixed], -sign * points[..., 1]
    return turned


def lying(points: np.ndarray, up: str) -> np.ndarray:
    """Return clouds (…, 3) turned back to how they lay before `upright`."""
    opposite = {"y": "y", "-y": "-y", "x": "-x", "-x": "x", "z": "-z", "-z": "z"}
    return upright(points, opposite[up])


def normalize(points: np.ndarray, how: str) -> np.ndarray:
    """Return the cloud (N, 3) centred at its mean and divided by its largest norm, or as it is (`none`)."""
    if how == "none":
        return points
    centred = points - points.mean(axis=0, dtype=np.float64).astype(np.float32)
    radius = float(np.linalg.norm(centred, axis=1).max())
    return centred / radius if radius > 0 else centred


def resize(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return exactly `count` points: a random subset without repetition, or all of them and some twice."""
    have = len(points)
    if have == count:
        return points
    if have > count:
        return points[rng.choice(have, count, replace=False)]
    return np.concatenate([points, points[rng.choice(have, count - have, replace=True)]])
