"""One mesh or cloud file becomes points; one from a stranger, or an image, is read in a child process with limits."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from ..errors import UserError
from .clouds import NotFinite, check_cloud
from .mesh import MESH_EXTENSIONS, read_mesh
from .picture import read_image
from .pointfiles import POINT_EXTENSIONS, read_point_file
from .root import require_confined
from .sandbox.protocol import Ended, Limits, Progress, Sandbox
from .surface import sample_surface

EXTENSIONS = MESH_EXTENSIONS | POINT_EXTENSIONS
"""Lower-case file name endings, without the dot, that are taken for meshes and clouds."""


def read_points(path: Path, *, count: int, rng: np.random.Generator, name: str | None = None) -> np.ndarray:
    """Return the one cloud of a file as (N, 3) float32: a mesh gives `count` points, a cloud all of its own.

    `name` is what errors call the file. Raises UserError as `read_clouds` does, and where there are several clouds.
    """
    clouds = read_clouds(path, count=count, rng=rng, name=name)
    if len(clouds) != 1:
        raise UserError(
            f"{name or path.name} holds {len(clouds)} clouds",
            expected="one cloud of shape (N, 3)",
            remedy="Save each cloud to a file of its own",
        )
    return clouds[0]


def read_clouds(
    path: Path, *, count: int, rng: np.random.Generator, name: str | None = None, settle: bool = True
) -> list[np.ndarray]:
    """Return the clouds of a file, each (N, 3) float32: several only from a numpy array of shape (B, N, 3).

    Meshes are sampled uniformly by area with `rng`, `count` points; files of bare points keep all of theirs.
    Coordinates so far from the origin that float32 would blur them (maps) are moved to their centre, unless `settle`
    is off.
    Raises UserError, naming the file and the reason, for whatever cannot be used.
    """
    return [one.cloud for one in read_shapes(path, count=count, rng=rng, name=name, settle=settle)]


class Shape(NamedTuple):
    """A cloud (N, 3) float32, and the points (M, 3) that the file itself holds: of a mesh its triangles' corners."""

    cloud: np.ndarray
    stored: np.ndarray


class NoPoints(UserError):
    """The file can be read and holds nothing."""


def read_shapes(
    path: Path, *, count: int, rng: np.random.Generator, name: str | None = None, settle: bool = True
) -> list[Shape]:
    """Return what `read_clouds` does, each cloud with what the file holds. UserError."""
    name = name or path.name
    extension = path.suffix[1:].lower()
    if extension not in EXTENSIONS:
        raise UserError(
            f"{name} is of no known kind", got=path.suffix, expected="one of " + ", ".join(sorted(EXTENSIONS))
        )
    require_confined(path, name)
    if not path.is_file():
        raise UserError(f"{name} does not exist or is not a file", remedy="Check the path")
    try:
        if extension in MESH_EXTENSIONS:
            read = [_from_mesh(path, name, count, rng)]
        else:
            read = [(cloud, cloud) for cloud in read_point_file(path, name)]
        if not read or not all(len(cloud) for cloud, _ in read):
            raise NoPoints(f"{name} cannot be read: it holds no points")
    except UserError:
        raise
    except Exception as error:  # parsers of foreign formats raise anything at all on a broken file
        raise UserError(f"{name} cannot be read: {_reason(error)}") from error
    several = len(read) > 1
    return [
        Shape(_settled(cloud, f"{name}[{index}]" if several else name, settle), stored)
        for index, (cloud, stored) in enumerate(read)
    ]


def _from_mesh(path: Path, name: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    triangles, vertices = read_mesh(path, name)
    if not len(triangles):
        return vertices, vertices
    bad = int((~np.isfinite(triangles)).any(axis=(1, 2)).sum())
    if bad:
        raise NotFinite(f"{name} cannot be read: {bad} of its {len(triangles)} triangles have NaN or infinite corners")
    return sample_surface(triangles, count, rng), triangles.reshape(-1, 3)


def _settled(points: np.ndarray, name: str, settle: bool) -> np.ndarray:
    points = points[:, :3].astype(np.float64)
    if settle and np.isfinite(points).all():
        low, high = points.min(axis=0), points.max(axis=0)
        extent, reach = float((high - low).max()), float(np.abs(points).max())
        if extent > 0 and reach * float(np.finfo(np.float32).eps) > 1e-4 * extent:
            points = points - (low + high) / 2
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
        return check_cloud(points, name)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    message = (str(error).strip().splitlines() or [""])[0][:300]
    return message if isinstance(error, ValueError) and message else f"{type(error).__name__} {message}".strip()


def read_untrusted(
    path: Path,
    count: int,
    seed: int,
    *,
    memory_bytes: int = 4 << 30,
    cpu_seconds: int = 30,
    wall_seconds: int = 60,
) -> np.ndarray:
    """Return what `read_points` would, (N, 3) float32, but parse the file in a child that may fail, swell or hang.

    The child has limits on memory and CPU time (where the system knows them) and on time by the clock, none of this
    process's secrets in its environment, and hands back nothing but an array. Raises UserError.
    """
    limits = Limits(memory_bytes, cpu_seconds, wall_seconds, answer_bytes=1 << 30)
    request = {"path": str(path.resolve()), "count": count, "seed": seed}
    shape, content = _ask("points_in_child", request, path.name, limits)
    return check_cloud(_array(shape, content, np.float32, (None, 3), path.name), path.name)


def read_untrusted_image(
    path: Path, *, memory_bytes: int = 4 << 30, cpu_seconds: int = 30, wall_seconds: int = 60
) -> np.ndarray:
    """Return what `read_image` would, as (H, W, 3) uint8, but decode the file in a child as `read_untrusted` does."""
    limits = Limits(memory_bytes, cpu_seconds, wall_seconds, answer_bytes=1 << 30)
    shape, content = _ask("image_in_child", {"path": str(path.resolve())}, path.name, limits)
    return _array(shape, content, np.uint8, (None, None, 3), path.name)


def _ask(function: str, request: dict[str, Any], name: str, limits: Limits) -> tuple[Any, bytes]:
    with (
        tempfile.TemporaryDirectory(prefix="pointsmith-read-") as scratch,
        Sandbox(f"{__name__}:{function}", limits, scratch=Path(scratch)) as sandbox,
    ):
        return sandbox.ask(request, name=name)


def _array(shape: Any, content: bytes, dtype: type[np.generic], expected: tuple[int | None, ...], name: str) -> Any:
    """Return the bytes of a child as an array of the expected type and shape, where None is any length. UserError."""
    sizes = cast("list[Any]", shape) if isinstance(shape, list) else []
    whole = len(sizes) == len(expected) and all(type(size) is int and size >= 0 for size in sizes)
    if not whole or any(want not in (None, size) for want, size in zip(expected, sizes)):
        raise Ended(f"{name} could not be read: its reader gave no such array")
    if math.prod(sizes) * np.dtype(dtype).itemsize != len(content):
        raise Ended(f"{name} could not be read: its reader gave no such array")
    return np.frombuffer(bytearray(content), dtype).reshape(sizes)


def points_in_child(request: dict[str, Any], _: Progress) -> tuple[Any, bytes]:
    """Return the shape and the bytes of a file's points; called in the child of `read_untrusted`."""
    path, rng = Path(request["path"]), np.random.default_rng(request["seed"])
    points = read_points(path, count=request["count"], rng=rng).astype(np.float32, copy=False)
    return points.shape, points.tobytes()


def image_in_child(request: dict[str, Any], _: Progress) -> tuple[Any, bytes]:
    """Return the shape and the bytes of a file's pixels; called in the child of `read_untrusted_image`."""
    path = Path(request["path"])
    pixels = np.asarray(read_image(path, path.name))
    return pixels.shape, pixels.tobytes()
