"""One mesh or cloud file becomes points; one from a stranger, or an image, is read in a child process with limits.

Run as a module it is that child: `python -m pointsmith.core.data.files PATH COUNT SEED MEMORY CPU WALL OUT`.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .child import REFUSED, environment, limit_cpu, limit_memory
from .clouds import NotFinite, check_cloud
from .mesh import MESH_EXTENSIONS, read_mesh
from .picture import IMAGE_EXTENSIONS, read_image
from .pointfiles import POINT_EXTENSIONS, read_point_file
from .root import require_confined
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
    limits = (memory_bytes, cpu_seconds, wall_seconds)
    with _parsed_by_child(path, count, seed, limits) as out:
        return check_cloud(read_point_file(out, path.name)[0], path.name)


def read_untrusted_image(
    path: Path, *, memory_bytes: int = 4 << 30, cpu_seconds: int = 30, wall_seconds: int = 60
) -> np.ndarray:
    """Return what `read_image` would, as (H, W, 3) uint8, but decode the file in a child as `read_untrusted` does."""
    with _parsed_by_child(path, 0, 0, (memory_bytes, cpu_seconds, wall_seconds)) as out, np.load(out) as content:
        return content["image"]


@contextmanager
def _parsed_by_child(path: Path, count: int, seed: int, limits: tuple[int, int, int]) -> Generator[Path, None, None]:
    """Yield the file in which a child left what it read; `limits` are bytes of memory, seconds of CPU and by the clock.

    Raises UserError with the child's own reason, or for a child that had to be ended.
    """
    memory_bytes, cpu_seconds, wall_seconds = limits
    with tempfile.TemporaryDirectory(prefix="pointsmith-read-") as folder:
        out = Path(folder) / "points.npz"
        numbers = [str(number) for number in (count, seed, *limits)]
        command = [sys.executable, "-m", __spec__.name, str(path.resolve()), *numbers, str(out)]
        try:
            child = subprocess.run(
                command,
                check=False,
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=wall_seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{path.name} took longer than {wall_seconds} s to read", remedy="Simplify it") from error
        if child.returncode == REFUSED and child.stdout:
            raise UserError(child.stdout.strip()[:2000])
        if child.returncode != 0 or not out.is_file():
            logging.getLogger(__name__).warning(
                "reading %s ended with %d: %s", path.name, child.returncode, child.stderr[-2000:]
            )
            raise UserError(
                f"{path.name} could not be read within {memory_bytes >> 20} MiB and {cpu_seconds} s of CPU time",
                remedy="Simplify it, or check that it is not damaged",
            )
        yield out


def _limit(memory_bytes: int, cpu_seconds: int, wall_seconds: int) -> None:
    limit_memory(memory_bytes)
    limit_cpu(cpu_seconds)
    if sys.platform != "win32":
        signal.alarm(wall_seconds + 1)  # should the parent be gone before it can end this process


def _child(arguments: list[str]) -> int:
    path, out = Path(arguments[0]), Path(arguments[6])
    count, seed, memory_bytes, cpu_seconds, wall_seconds = (int(argument) for argument in arguments[1:6])
    _limit(memory_bytes, cpu_seconds, wall_seconds)
    try:
        if path.suffix[1:].lower() in IMAGE_EXTENSIONS:
            np.savez(out, image=np.asarray(read_image(path, path.name)))
        else:
            np.savez(out, points=read_points(path, count=count, rng=np.random.default_rng(seed)))
    except UserError as error:
        print(error)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1:]))
