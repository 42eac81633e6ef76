"""Surfaces of generated objects: every part is a loft, a row of rings, kept as triangles and sampled by area.

Shapes: K rings along a part, S corners a ring, P like parts at once, T triangles. Lengths are in metres, y is up.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Numbers = Sequence[float] | np.ndarray
Points = Sequence[Sequence[float] | np.ndarray] | np.ndarray


class Dice:
    """Readable draws from one generator."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def between(self, low: float, high: float) -> float:
        """Return a uniform number."""
        return low + (high - low) * self.rng.random()

    def chance(self, share: float) -> bool:
        """Return True in that share of the draws."""
        return self.rng.random() < share

    def whole(self, low: int, high: int) -> int:
        """Return an integer, both ends included."""
        return low + int(self.rng.random() * (high - low + 1))

    def pick(self, names: Sequence[str]) -> str:
        """Return one of the names."""
        return names[int(self.rng.random() * len(names))]

    def many(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Return an array of uniform numbers."""
        return low + (high - low) * self.rng.random(shape)


class Solid:
    """A growing union of parts. Each method adds one part, or P like parts at once."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def triangles(self) -> np.ndarray:
        """Return all surfaces so far, (T, 3 corners, 3)."""
        return np.concatenate(self._parts)

    def add(self, triangles: np.ndarray) -> None:
        """Add triangles (..., 3, 3)."""
        self._parts.append(triangles.reshape(-1, 3, 3))

    def loft(self, rings: np.ndarray, *, caps: bool = True, closed: bool = True) -> None:
        """Add the surface through rings (..., K, S, 3); `closed` joins each ring's end to its start."""
        if closed:
            following = np.concatenate([rings[..., 1:, :], rings[..., :1, :]], axis=-2)
        else:
            rings, following = rings[..., :-1, :], rings[..., 1:, :]
        a, b = rings[..., :-1, :, :], following[..., :-1, :, :]
        c, d = rings[..., 1:, :, :], following[..., 1:, :, :]
        faces = np.empty((*a.shape[:-1], 6, 3))
        for i, corner in enumerate((a, b, c, b, d, c)):
            faces[..., i, :] = corner
        self.add(faces)
        if caps and closed:
            ends, after = rings[..., [0, -1], :, :], following[..., [0, -1], :, :]
            middle = np.broadcast_to(ends.mean(axis=-2, keepdims=True), ends.shape)
            self.add(np.stack([ends, after, middle], axis=-2))

    def boxes(self, centres: Points, sizes: Numbers | Points, turns: np.ndarray | None = None) -> None:
        """Add P boxes: centres (P, 3), full sizes (P, 3) or (3,), rotations (P, 3, 3) or (3, 3)."""
        centres = np.atleast_2d(np.asarray(centres, dtype=float))
        corners = _UNIT_BOX * (np.asarray(sizes, dtype=float) / 2)[..., None, None, :]
        if corners.ndim == 3:
            corners = np.broadcast_to(corners, (len(centres), *corners.shape))
        if turns is not None:
            turns = np.asarray(turns)
            corners = corners @ np.swapaxes(turns, -1, -2)[..., None, :, :]
        self.add(corners + centres[:, None, None, :])

    def tube(
        self,
        path: Points,
        radii: float | Numbers,
        *,
        sides: int = 10,
        square: float = 1.0,
        flat: float = 1.0,
        caps: bool = True,
    ) -> None:
        """Add tubes along paths (..., K, 3) with radii (..., K) or one radius.

        `square` is the superellipse exponent of the section (1 round, towards 0 square), `flat` scales the section's
        second axis.
        """
        path = np.asarray(path, dtype=float)
        radii = np.broadcast_to(np.asarray(radii, dtype=float), path.shape[:-1])
        forward = np.empty_like(path)
        forward[..., 1:-1, :] = path[..., 2:, :] - path[..., :-2, :]
        forward[..., 0, :] = path[..., 1, :] - path[..., 0, :]
        forward[..., -1, :] = path[..., -1, :] - path[..., -2, :]
        # The axis that the paths run along least, for all parts alike, is never parallel to a sensible path.
        spread = np.einsum("ij->j", np.abs(forward).reshape(-1, 3))
        side = np.zeros(3)
        side[int(np.argmin(spread * (1.0, 1.0, 0.99)))] = 1.0
        first = unit(_cross(forward, side))
        second = unit(_cross(first, forward))
        circle = section(sides, square) * (1.0, flat)
        spokes = first[..., None, :] * circle[:, :1] + second[..., None, :] * circle[:, 1:]
        self.loft(path[..., None, :] + spokes * radii[..., None, None], caps=caps)

    def rods(self, starts: Points, ends: Points, radius: float, *, sides: int = 7, taper: float = 1.0) -> None:
        """Add P straight rods from starts (P, 3) to ends (P, 3)."""
        path = np.stack([np.asarray(starts, dtype=float), np.asarray(ends, dtype=float)], axis=-2)
        self.tube(path, np.array([radius, radius * taper]), sides=sides)

    def revolve(
        self,
        profile: Points,
        centre: Numbers = (0.0, 0.0, 0.0),
        *,
        sides: int = 20,
        square: float = 1.0,
        flat: float = 1.0,
        caps: bool = True,
    ) -> None:
        """Add the surface of a profile (K, 2) of (radius, height) turned about the vertical through `centre`."""
        profile = np.asarray(profile, dtype=float)
        circle = section(sides, square) * (1.0, flat)
        rings = np.empty((len(profile), sides, 3))
        rings[..., [0, 2]] = profile[:, None, :1] * circle
        rings[..., 1] = profile[:, 1:]
        self.loft(rings + np.asarray(centre), caps=caps)

    def ellipsoids(
        self,
        centres: Points,
        radii: Numbers | Points,
        *,
        square: float = 1.0,
        turns: np.ndarray | None = None,
        detail: int = 7,
    ) -> None:
        """Add P superquadrics: centres (P, 3), half sizes (P, 3) or (3,), rotations (P, 3, 3) or (3, 3)."""
        centres = np.atleast_2d(np.asarray(centres, dtype=float))
        angle = np.linspace(-np.pi / 2, np.pi / 2, detail)
        wide, high = _power(np.cos(angle), square), _power(np.sin(angle), square)
        rings = np.empty((detail, 2 * detail, 3))
        rings[..., [0, 2]] = wide[:, None, None] * section(2 * detail, square)
        rings[..., 1] = high[:, None]
        placed = rings * np.asarray(radii, dtype=float).reshape(-1, 1, 1, 3)
        if turns is not None:
            placed = placed @ np.swapaxes(np.asarray(turns), -1, -2)[..., None, :, :]
        self.loft(placed + centres[:, None, None, :], caps=False)

    def extrude(self, outline: np.ndarray, low: float, high: float, *, axis: int = 2, inset: float = 0.0) -> None:
        """Add a slab of a star-shaped outline (S, 2) between two levels of an axis; `inset` rounds its edges."""
        step = (high - low) * min(inset, 0.5)
        levels = np.array([low, low + step, high - step, high]) if inset else np.array([low, high])
        scales = np.array([1 - inset, 1.0, 1.0, 1 - inset]) if inset else np.ones(2)
        rings = np.empty((len(levels), len(outline), 3))
        rings[..., [i for i in range(3) if i != axis]] = outline * scales[:, None, None]
        rings[..., axis] = levels[:, None]
        self.loft(rings)

    def cushion(self, centre: Numbers, size: Numbers, *, square: float = 0.35) -> None:
        """Add a rounded box."""
        self.ellipsoids([list(centre)], [[s / 2 for s in size]], square=square)


def section(sides: int, square: float = 1.0) -> np.ndarray:
    """Return a superellipse of radius one, (S, 2): exponent 1 is a circle, towards 0 a square."""
    angle = (np.arange(sides) + 0.5) * (2 * np.pi / sides)
    both = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return both if square == 1.0 else _power(both, square)


def point(*coordinates: float) -> np.ndarray:
    """Return a point or vector, to be added to others."""
    return np.array(coordinates)


def curve(*knots: Numbers, steps: int = 7) -> np.ndarray:
    """Return points (steps, 3) of the Bézier curve with two, three or four control points (each may be (P, 3))."""
    t = np.linspace(0.0, 1.0, steps)[:, None]
    level: list[np.ndarray] = [np.asarray(knot, dtype=float)[..., None, :] for knot in knots]
    while len(level) > 1:
        level = [a * (1 - t) + b * t for a, b in pairwise(level)]
    return level[0]


def spin(angle: float | np.ndarray, axis: int = 1) -> np.ndarray:
    """Return the rotation by `angle` (radians, any shape) about a coordinate axis, (..., 3, 3)."""
    angle = np.asarray(angle, dtype=float)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.zeros((*angle.shape, 3, 3))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    turn[..., axis, axis] = 1.0
    turn[..., i, i], turn[..., j, j] = c, c
    turn[..., i, j], turn[..., j, i] = -s, s
    return turn


def turned(points: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return points (..., 3) after a rotation (3, 3)."""
    return np.matmul(points, np.swapaxes(turn, -1, -2))


def any_turn(rng: np.random.Generator) -> np.ndarray:
    """Return a rotation (3, 3) uniform over all orientations (Shoemake's unit quaternions)."""
    a, b, c = rng.random(3)
    r, s = np.sqrt(1 - a), np.sqrt(a)
    x, y, z, w = (
        r * np.sin(2 * np.pi * b),
        r * np.cos(2 * np.pi * b),
        s * np.sin(2 * np.pi * c),
        s * np.cos(2 * np.pi * c),
    )
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) of length one; a zero vector stays zero."""
    return vectors / np.maximum(np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None], 1e-12)


def extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest corner (3,) of the box around points (N, 3)."""
    # Reducing along rows of three numbers is several times slower than along columns.
    columns: np.ndarray = np.ascontiguousarray(np.swapaxes(points, 0, 1))
    return columns.min(axis=1), columns.max(axis=1)


def sample(triangles: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` independent points (count, 3), uniform over the area of triangles (T, 3, 3)."""
    corner: np.ndarray = triangles[:, 0]
    one: np.ndarray = triangles[:, 1] - corner
    two: np.ndarray = triangles[:, 2] - corner
    normal = _cross(one, two)
    total = np.cumsum(np.linalg.norm(normal, axis=1))
    # Looking up sorted numbers and shuffling after is faster than looking up unsorted ones.
    where: np.ndarray = np.sort(rng.random(count)) * total[-1]
    chosen = np.minimum(np.searchsorted(total, where), len(triangles) - 1)
    rng.shuffle(chosen)
    draws = rng.random((2, count))
    # Points beyond the diagonal of the parallelogram are folded back into the triangle.
    places = draws + (draws[0] + draws[1] > 1) * (1 - 2 * draws)
    frames: np.ndarray = np.concatenate([corner, one, two], axis=1)[chosen]
    return frames[:, :3] + places[0][:, None] * frames[:, 3:6] + places[1][:, None] * frames[:, 6:]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # np.cross costs several times as much on arrays this small.
    a0, a1, a2 = a[..., 0], a[..., 1], a[..., 2]
    b0, b1, b2 = b[..., 0], b[..., 1], b[..., 2]
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    out[..., 0], out[..., 1], out[..., 2] = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0
    return out


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    return np.sign(values) * np.abs(values) ** exponent


def _unit_box() -> np.ndarray:
    quads: list[np.ndarray] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            corners = np.zeros((4, 3))
            corners[:, axis] = sign
            corners[:, (axis + 1) % 3] = (-1, 1, 1, -1)
            corners[:, (axis + 2) % 3] = (-1, -1, 1, 1)
            quads += [corners[[0, 1, 2]], corners[[0, 2, 3]]]
    return np.array(quads)


_UNIT_BOX = _unit_box()
