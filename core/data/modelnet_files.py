"""ModelNet40's twelve thousand text clouds or meshes are read once, by threads; the next run finds their points kept.

Each file becomes 8,192 farthest points, as in the caches of the papers' code.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .clouds import Clouds, check_cloud
from .dataset import Progress
from .files import read_points
from .root import require_confined
from .thin import farthest

STORED = 8192
"""Points kept of each file: as many as the papers' caches have."""
_SAMPLED = 10_000
"""Points sampled from a mesh: as many as the resampled text clouds have."""
_THREADS = 8
_VERSION = 1


@dataclass(frozen=True)
class Listed:
    """The files of one part with their labels and names."""

    files: list[Path]
    labels: list[int]
    names: list[str]


def read_listed(listed: dict[str, Listed], origin: Path, seed: int, progress: Progress | None) -> dict[str, Clouds]:
    """Return the clouds of each part, (S, 8192, 3) or with all points of smaller files, in the order of the lists.

    `origin` is the folder or zip that the files come from: as long as their names, sizes and times stay the same,
    what was read is taken from the user's cache. Raises UserError naming a file that is missing or broken; the
    benchmark needs them all.
    """
    named = [pair for part in listed.values() for pair in zip(part.files, part.names, strict=True)]
    missing = [name for file, name in named if not file.is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} files that ModelNet40's lists name are missing, the first is",
            got=missing[0],
            remedy="Fetch the archive again",
        )
    key = _key(listed, origin, seed)
    return {
        part: Clouds(_points(one, f"{key}-{part}", seed, progress), np.array(one.labels, np.int64), tuple(one.names))
        for part, one in listed.items()
    }


def _key(listed: dict[str, Listed], origin: Path, seed: int) -> str:
    """Return a name for what these files hold; of a zip only the zip itself counts, not where it was unpacked."""
    total = hashlib.sha256(json.dumps([_VERSION, str(origin.resolve()), seed]).encode())
    if origin.is_file():
        stat = origin.stat()
        total.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    for part in listed.values():
        for file, name in zip(part.files, part.names, strict=True):
            stat = file.stat()
            times = "" if origin.is_file() else f" {stat.st_mtime_ns}"
            total.update(f"{name} {stat.st_size}{times}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()[:24]


def _points(listed: Listed, key: str, seed: int, progress: Progress | None) -> np.ndarray:
    from ..models.weight_files import cache_dir

    place = cache_dir() / "data" / f"modelnet40-{key}.npy"
    kept = _kept(place, len(listed.files))
    if kept is not None:
        return kept
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            points = _fill(listed, seed, progress, lambda shape: _mapped(draft, shape))
            points.flush()
            del points
            os.replace(draft, place)
        finally:
            draft.unlink(missing_ok=True)
    except OSError:  # no room, or no permission: the run itself needs no cache
        return _fill(listed, seed, progress, lambda shape: np.empty(shape, np.float32))
    found = _kept(place, len(listed.files))
    if found is None:
        raise UserError("What was read of ModelNet40 could not be kept", got=str(place), remedy="Check the disk")
    return found


def _mapped(place: Path, shape: tuple[int, ...]) -> Any:
    return np.lib.format.open_memmap(place, mode="w+", dtype=np.float32, shape=shape)


def _kept(place: Path, count: int) -> np.ndarray | None:
    """Return the points kept from an earlier run, mapped from disk; None where there are none, or not all."""
    try:
        found = np.load(place, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return found if found.dtype == np.float32 and found.ndim == 3 and len(found) == count else None


def _fill(listed: Listed, seed: int, progress: Progress | None, make: Callable[[tuple[int, ...]], Any]) -> Any:
    """Return an array made by `make` with the points of every file."""
    array: Any = None
    for at, cloud in enumerate(_read_all(listed, seed)):
        if array is None:
            array = make((len(listed.files), *cloud.shape))
        if cloud.shape != array.shape[1:]:
            raise UserError(
                f"{listed.names[at]} has another number of points", got=len(cloud), expected=str(array.shape[1])
            )
        array[at] = cloud
        if progress:
            progress("reading ModelNet40 (only the first time)", at + 1, len(listed.files))
    return array


def _read_all(listed: Listed, seed: int) -> Iterator[np.ndarray]:
    """Yield the points of every file, in order, read ahead by threads: parsing and sampling release the lock."""
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="modelnet")
    try:
        yield from pool.map(partial(_read, seed=seed), listed.files, listed.names)
    finally:
        pool.shutdown(cancel_futures=True)


def _read(file: Path, name: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    if file.suffix.lower() == ".off":
        points = read_points(file, count=_SAMPLED, rng=rng, name=name)
    else:
        points = check_cloud(_table(file, name), name)
    if len(points) <= STORED:
        return points
    return farthest(points[None], STORED, rng.integers(len(points), size=1))[0]


def _table(file: Path, name: str) -> np.ndarray:
    """Return x, y, z of a file of numbers separated by commas; three times as fast as numpy reads it."""
    require_confined(file, name)
    csv: Any = import_module("pyarrow.csv")
    arrow: Any = import_module("pyarrow")
    columns = ["f0", "f1", "f2"]
    try:
        table = csv.read_csv(
            file,
            read_options=csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
            convert_options=csv.ConvertOptions(
                include_columns=columns, column_types={column: arrow.float32() for column in columns}, null_values=[]
            ),
        )
        return np.stack([np.asarray(table[column].to_numpy(), np.float32) for column in columns], axis=1)
    except (arrow.ArrowInvalid, arrow.ArrowKeyError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{name} cannot be read: {reason}", expected="lines of x,y,z,nx,ny,nz") from error
