"""Clouds made by the built-in generator: labelled everyday objects, and endless unlabelled shapes for pre-training.

Every cloud depends on its seed alone, so that any part of a set can be made anywhere, in any order.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..errors import UserError
from .clouds import normalize
from .procedural_faults import Faults, scan
from .procedural_shapes import builders
from .procedural_solids import Dice, Solid, any_turn, extent, spin, turned
from .procedural_wild import deform, families

__all__ = ["CLASSES", "Faults", "demo_faults", "make_cloud", "make_split", "make_unlabelled"]

CLASSES: tuple[str, ...] = tuple(builders())

_LABELLED, _UNLABELLED = 1, 2
TEST_SPLIT = 1
"""The part of a seed that no training cloud has."""
_SPLITS = {"train": 0, "test": TEST_SPLIT}


def make_cloud(label: int, seed: int | tuple[int, ...], points: int = 1024, *, faults: Faults = Faults()) -> np.ndarray:
    """Return one object of a class as a cloud (points, 3) float32, y up, centred at its mean, largest norm one.

    Raises UserError for a label outside the classes.
    """
    if not 0 <= label < len(CLASSES):
        raise UserError("No such class", got=label, expected=f"0 to {len(CLASSES) - 1}")
    parts = (seed,) if isinstance(seed, int) else seed
    # The length is a part because a seed sequence does not tell (7,) from (7, 0).
    rng = np.random.default_rng([_LABELLED, label, len(parts), *parts])
    dice, solid = Dice(rng), Solid()
    builders()[CLASSES[label]](dice, solid)
    shape = _framed(solid.triangles()) * np.exp(dice.many(-0.12, 0.12, 3))
    cloud = scan(_framed(shape), points, faults, rng)
    turn = spin(np.deg2rad(faults.turn) * dice.between(-1, 1))
    return normalize(turned(cloud, turn).astype(np.float32), "unit-sphere")


def demo_faults(scan: Literal["clean", "gentle", "hard"]) -> Faults:
    """Return the strengths behind the demo data set's three names."""
    if scan == "hard":
        return Faults()
    if scan == "clean":
        return Faults.none()
    return Faults(view=0.25, occlusion=0.1, background=0.05, noise=0.008, uneven=0.3, turn=20)


def make_split(
    split: Literal["train", "test"], per_class: int, points: int, seed: int, faults: Faults = Faults()
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return one split: clouds (S, N, 3) float32, labels (S,) int64, names such as `chair-0007`.

    Classes alternate, so that any beginning of the set is balanced. No seed serves both splits.
    """
    labels = np.tile(np.arange(len(CLASSES), dtype=np.int64), per_class)
    numbers = np.repeat(np.arange(per_class), len(CLASSES))
    clouds = np.empty((len(labels), points, 3), dtype=np.float32)
    for i, (label, number) in enumerate(zip(labels.tolist(), numbers.tolist(), strict=True)):
        clouds[i] = make_cloud(label, (seed, _SPLITS[split], number), points, faults=faults)
    names = tuple(f"{CLASSES[label]}-{number:04d}" for label, number in zip(labels, numbers, strict=True))
    return clouds, labels, names


def make_unlabelled(
    count: int,
    points: int,
    seed: int,
    *,
    start: int = 0,
    named: float = 0.3,
    tumbled: float = 0.25,
    faults: Faults = Faults(view=0.35),
) -> np.ndarray:
    """Return clouds (count, points, 3) float32 for pre-training: numbers `start` to `start + count` of an endless row.

    A share `named` of them are objects of the fifteen classes, the others random compositions; a share `tumbled` is
    turned any way, the others about the vertical only. Disjoint ranges may be made in parallel processes.
    """
    kinds = families()
    known = tuple(builders().values())
    clouds = np.empty((count, points, 3), dtype=np.float32)
    for i in range(count):
        rng = np.random.default_rng([_UNLABELLED, seed, start + i])
        dice, solid = Dice(rng), Solid()
        source = known if dice.chance(named) else kinds
        source[int(rng.random() * len(source))](dice, solid)
        shape = _framed(solid.triangles())
        cloud = scan(_framed(deform(shape, dice)) if source is kinds else shape, points, faults, rng)
        turn = any_turn(rng) if dice.chance(tumbled) else spin(2 * np.pi * rng.random())
        clouds[i] = normalize(turned(cloud, turn).astype(np.float32), "unit-sphere")
    return clouds


def _framed(triangles: np.ndarray) -> np.ndarray:
    """Return the triangles with the middle of their bounding box at the origin and its half diagonal one."""
    corners = triangles.reshape(-1, 3)
    low, high = extent(corners)
    half = (high - low) / 2
    return (triangles - (low + half)) / np.sqrt((half * half).sum())
