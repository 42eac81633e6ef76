"""Clouds in a data set of the Hub (or a local copy of one): Arrow columns become arrays without Python lists."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .dataset import Progress

_AT_ONCE = 256


def read_split(
    repository: str,
    split: str,
    revision: str | None = None,
    progress: Progress | None = None,
    columns: tuple[str, str] = ("inputs", "label"),
) -> tuple[np.ndarray, np.ndarray]:
    """Return (points (S, N, 3) float32, labels (S,) int64) of one split of `owner/name` or of a folder on disk.

    `columns` are those of the points, a list of [x, y, z, …], and of the labels. What was fetched once stays in the
    cache of `datasets` and needs no network again. Raises UserError for a data set that cannot be had or is of another
    form.
    """
    data = open_split(repository, split, revision)
    inputs, label = columns
    missing = [name for name in columns if name not in data.column_names]
    if missing:
        raise UserError(
            f"{repository} has no column {missing[0]}", got=data.column_names, expected=f"{inputs} and {label}"
        )
    if not len(data):
        raise UserError(f"The split {split} of {repository} is empty")
    labels = np.asarray(data.with_format("numpy", columns=[label])[:][label])
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"The column {label} of {repository} does not hold whole numbers", got=str(labels.dtype))
    points: np.ndarray | None = None
    done = 0
    for table in data.with_format("arrow", columns=[inputs]).iter(batch_size=_AT_ONCE):
        part = _clouds(table.column(inputs), f"{split} of {repository}")
        if points is None:
            points = np.empty((len(data), *part.shape[1:]), np.float32)
        if part.shape[1:] != points.shape[1:]:
            raise UserError(
                f"{split} of {repository} has clouds of different sizes",
                got=part.shape[1],
                expected=str(points.shape[1]),
            )
        points[done : done + len(part)] = part
        done += len(part)
        if progress:
            progress(f"reading {split}", done, len(data))
    assert points is not None
    return points, labels.astype(np.int64)


def open_split(repository: str, split: str, revision: str | None) -> Any:
    """Return a split as the `datasets` library has it; UserError where it cannot be had."""
    datasets: Any = import_module("datasets")  # more than a second: only those who read from the Hub pay
    local = repository.startswith(("/", ".", "~")) or Path(repository).is_dir()
    if local and not Path(repository).is_dir():
        raise UserError("The local copy of the data set does not exist", got=repository, remedy="Check the path")
    try:
        return datasets.load_dataset(repository, split=split, revision=None if local else revision)
    except Exception as error:  # whatever the network, the Hub, the cache and Arrow raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"The split {split} of {repository} cannot be had ({type(error).__name__}: {reason})",
            remedy="Check the path and its files"
            if local
            else "Check the connection, or fetch the data set elsewhere and name its folder as data.path",
        ) from error


def _clouds(column: Any, name: str) -> np.ndarray:
    """Return (B, N, 3) of an Arrow column of lists of [x, y, z] by its flat numbers."""
    compute: Any = import_module("pyarrow.compute")
    flat, sizes = column.combine_chunks(), list[int]()
    while str(flat.type).startswith(("list", "large_list", "fixed_size_list")):
        lengths = compute.list_value_length(flat).unique().to_pylist()
        if len(lengths) != 1 or not lengths[0]:
            raise UserError(f"{name} does not hold clouds of one size", expected="as many points in each")
        sizes.append(lengths[0])
        flat = flat.flatten()
    if len(sizes) != 2 or sizes[1] < 3 or flat.null_count:
        expected = "a list of N points [x, y, z] each"
        raise UserError(f"{name} does not hold clouds", got=str(column.type), expected=expected)
    numbers = np.asarray(flat.to_numpy(zero_copy_only=False))
    if numbers.dtype.kind not in "fiu":
        raise UserError(f"{name} holds no plain numbers", got=str(column.type))
    return numbers.reshape(-1, sizes[0], sizes[1])[:, :, :3]
