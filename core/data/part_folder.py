"""Your own objects with labelled points: category folders of clouds, the label in a column or in a file beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..bounded_text import read_json
from ..errors import UserError
from ..schema import is_mapping
from .class_folders import FileKind, Layout, Left, lay_out, opened, require_sound
from .clouds import check_cloud
from .config import PartFolderData
from .dataset import Progress
from .part_clouds import PartClouds, PartNames, first_parts, gathered, prepared
from .pointfiles import POINT_EXTENSIONS, read_point_file
from .root import require_confined
from .shapenetpart import whole_numbers
from .split import Parts, hold_out_test

KIND = FileKind(POINT_EXTENSIONS, "cloud")
NAMES = "parts.json"
_BESIDE = (".seg", ".labels")
_TABLES = frozenset({".txt", ".csv", ".xyz", ".pts", ".asc"})
_COLUMN_NAMES = ("part", "label", "labels", "seg", "segment", "class")
_MOST_PARTS = 1000

_Read = dict[str, list[tuple[str, int, np.ndarray, np.ndarray]]]
"""part of the set → (name, category, points, labels as the file has them)."""


def read_part_folder(config: PartFolderData, *, least: int = 1, progress: Progress | None = None) -> Parts:
    """Return the clouds below `config.path` with their labels, normalised by all of each file's points.

    The labels of a category may be any whole numbers; with `parts.json` they count from 0 in the order of its names.
    Files that cannot be read, or have too few points, are skipped and named in the notes. Raises UserError for what
    leaves no sound data set.
    """
    left = Left()
    with opened(config.path.expanduser()) as top:
        root, layout = lay_out(top, KIND, left)
        left.ignored -= sum(1 for ending in (*_BESIDE, NAMES) for _ in root.rglob(f"*{ending}"))
        categories = _categories(layout, config.path.name)
        read = _read(root, layout, categories, least, left, progress)
        names, numbers = _parts(root / NAMES, categories, read)
    made = {part: _numbered(found, numbers, config) for part, found in read.items()}
    for part, clouds in made.items():
        require_sound(clouds, categories, part, left)
    parts = Parts(
        made["train"],
        made.get("validation"),
        made.get("test"),
        categories,
        tuple(left.notes()),
        part_names=names,
        complete=False,
    )
    return hold_out_test(parts, config.test_share, config.split_seed)


def _categories(layout: Layout, name: str) -> tuple[str, ...]:
    train = layout.get("train", {})
    if not train:
        raise UserError(
            f"{name} has no category folder",
            expected="one sub-folder per category, or train/ and test/ with such sub-folders",
        )
    strange = sorted({one for folders in layout.values() for one in folders} - set(train))
    if strange:
        raise UserError(f"{name}: a category has no training clouds", got=strange[0], remedy="Add some to train/")
    return tuple(sorted(train))


def _read(
    root: Path, layout: Layout, categories: tuple[str, ...], least: int, left: Left, progress: Progress | None
) -> _Read:
    read: _Read = {part: [] for part in layout}
    total, done = sum(len(files) for folders in layout.values() for files in folders.values()), 0
    for part, folders in layout.items():
        for category, files in sorted(folders.items()):
            for file in files:
                name = file.relative_to(root).as_posix()
                try:
                    points, labels = read_labelled(file, name)
                    read[part].append((name, categories.index(category), check_cloud(points, name, least), labels))
                except UserError as error:
                    left.skipped.append(str(error))
                done += 1
                if progress:
                    progress("reading clouds", done, total)
    return read


def read_labelled(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (points (N, 3), labels (N,) uint16) of a file; UserError where points have no labels."""
    require_confined(path, name)
    beside = next((path.with_suffix(ending) for ending in _BESIDE if path.with_suffix(ending).is_file()), None)
    if beside is not None:
        require_confined(beside, beside.name)
    try:
        if beside is not None:
            points, labels = _cloud(path, name)[:, :3], np.loadtxt(beside, ndmin=1, dtype=np.float64)
        else:
            points, labels = _table(path) if path.suffix.lower() in _TABLES else _split(_cloud(path, name))
            if not len(labels) and len(points):
                raise UserError(
                    f"{name} has no labels",
                    got=f"{points.shape[1]} columns",
                    expected=f"a fourth column, or a file {path.stem}.seg with a label a line",
                )
    except (ValueError, OSError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{name} cannot be read: {reason}") from error
    if labels.ndim != 1 or len(labels) != len(points):
        raise UserError(f"{name} has not one label for each point", got=labels.shape, expected=f"({len(points)},)")
    return points, whole_numbers(labels, name)


def _split(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (points, labels) of an array whose last column is the label; of one without, no labels."""
    return array[:, :3], array[:, -1] if array.shape[1] > 3 else np.zeros(0)


def _cloud(path: Path, name: str) -> np.ndarray:
    found = read_point_file(path, name)
    if len(found) != 1:
        raise ValueError(f"it holds {len(found)} clouds, expected one")
    return found[0]


def _table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return (points (N, 3), labels (N,)) of a text table; up to ten lines may stand before the numbers.

    A header that names its columns is believed; without one x, y, z come first and the label last.
    """
    lines = [line for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip()]
    for at, line in enumerate(lines[:11]):
        separator = ";" if ";" in line else "," if "," in line else None
        if not _is_number(line.split(separator)[0]):
            continue
        table = np.loadtxt(lines[at:], delimiter=separator, ndmin=2, comments="#", dtype=np.float64)
        titles = [cell.strip(' "').lower() for cell in lines[at - 1].strip("/# ").split(separator)] if at else []
        titles = titles if len(titles) == table.shape[1] else []
        known = next((titles.index(one) for one in _COLUMN_NAMES if one in titles), None)
        if known is None and table.shape[1] < 4:
            return table, np.zeros(0)
        xyz = [titles.index(axis) for axis in "xyz"] if {"x", "y", "z"} <= set(titles) else [0, 1, 2]
        return table[:, xyz], table[:, -1 if known is None else known]
    raise ValueError("no line of numbers was found at its beginning")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parts(path: Path, categories: tuple[str, ...], read: _Read) -> tuple[PartNames, list[np.ndarray]]:
    """Return (names of each category's parts, the labels that the files have for them, sorted)."""
    given = given_names(path)
    names: list[tuple[str, ...]] = []
    numbers: list[np.ndarray] = []
    for number, category in enumerate(categories):
        seen = [labels for found in read.values() for _, own, _, labels in found if own == number]
        found = np.unique(np.concatenate(seen)) if seen else np.zeros(0, np.uint16)
        if category in given:
            names.append(given[category])
            numbers.append(np.arange(len(given[category])))
            if len(found) and int(found[-1]) >= len(given[category]):
                raise UserError(
                    f"A {category} has a point of part {int(found[-1])}, for which {NAMES} has no name",
                    expected=f"labels of 0 to {len(given[category]) - 1}",
                )
        else:
            names.append(tuple(f"part {int(label)}" for label in found))
            numbers.append(found)
    total = sum(map(len, names))
    if not 2 <= total <= _MOST_PARTS:
        raise UserError("The clouds have no sound number of parts", got=total, expected=f"2 to {_MOST_PARTS} in all")
    return tuple(names), numbers


def given_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Return what `parts.json` calls each category's parts; nothing where there is none. UserError."""
    if not path.is_file():
        return {}
    require_confined(path, NAMES)
    content: Any = read_json(path, name=NAMES)
    if not is_mapping(content) or not all(map(_is_list, content.values())):
        raise UserError(f"{NAMES} has another form", expected='{"chair": ["seat", "leg"], …}')
    return {category: tuple(map(str, own)) for category, own in content.items()}


def _is_list(content: Any) -> bool:
    return isinstance(content, list) and content != []


def _numbered(
    found: list[tuple[str, int, np.ndarray, np.ndarray]], numbers: list[np.ndarray], config: PartFolderData
) -> PartClouds:
    first = first_parts(tuple(tuple("" for _ in own) for own in numbers))
    return gathered(
        [prepared(points, config.preparation) for _, _, points, _ in found],
        [first[own] + np.searchsorted(numbers[own], labels) for _, own, _, labels in found],
        [own for _, own, _, _ in found],
        [name for name, _, _, _ in found],
    )
