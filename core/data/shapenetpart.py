"""ShapeNetPart from the official folder or a zip of it: read once, kept in the user's cache, then mapped in seconds.

`synsetoffset2category.txt` names the folder of each category, `train_test_split/shuffled_*_file_list.json` the files of
each list, and `<synset>/<id>.txt` has a line `x y z nx ny nz part` for each point.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import UserError
from .class_folders import opened
from .clouds import check_cloud
from .config import ShapeNetPartData
from .dataset import Progress
from .names import SHAPENETPART, numbered_parts
from .part_clouds import first_parts, gathered, prepared
from .root import inside, require_confined
from .split import Parts

_CATEGORIES, _LISTS = "synsetoffset2category.txt", "train_test_split/shuffled_{}_file_list.json"
_SIZES = {"train": 12137, "val": 1870, "test": 2874}
_COLUMNS = 7
_VERSION = 1


@dataclass(frozen=True)
class _Listed:
    """The files of one list: their names below the root, and the number of each one's category."""

    names: tuple[str, ...]
    labels: tuple[int, ...]


def read_shapenetpart(config: ShapeNetPartData, *, progress: Progress | None = None) -> Parts:
    """Return the official lists as clouds with labelled points, normalised by all of each file's points.

    Raises UserError for files that are missing or broken, or parts that a category does not have; where the lists
    are not as long as the published ones the notes say so.
    """
    part_names = numbered_parts(SHAPENETPART.values())
    with opened(config.path.expanduser(), _wanted) as top:
        root = _root(top, config.path.name)
        listed = {which: _listed(root, which, config.path.name) for which in _SIZES}
        clouds, parts = _kept_or_read(root, config.path.expanduser(), listed, progress)
    made: dict[str, tuple[list[np.ndarray], list[np.ndarray], list[int], list[str]]] = {}
    at = 0
    for which, files in listed.items():
        part = "train" if which == "val" and config.lists == "trainval" else which
        own = made.setdefault(part, ([], [], [], []))
        for name, label in zip(files.names, files.labels):
            _check_parts(parts[at], label, name)
            own[0].append(prepared(clouds[at], config.preparation))
            own[1].append(parts[at])
            own[2].append(label)
            own[3].append(name)
            at += 1
    for part in ("train", "test"):
        if not made.get(part, ((), ()))[0]:
            raise UserError(f"ShapeNetPart's {part} list is empty", got=config.path.name)
    ready = {part: gathered(*own) for part, own in made.items() if own[0]}
    return Parts(
        ready["train"],
        ready.get("val"),
        ready["test"],
        tuple(SHAPENETPART),
        _notes(listed),
        part_names=part_names,
        complete=False,
    )


def _wanted(path: PurePosixPath) -> bool:
    return path.suffix in (".txt", ".json")


def _root(top: Path, name: str) -> Path:
    """Return the folder that holds the list of categories: the one given, or one or two below it."""
    for pattern in (".", "*", "*/*"):
        for found in sorted(top.glob(f"{pattern}/{_CATEGORIES}")):
            return found.parent
    raise UserError(
        f"{name} is not ShapeNetPart",
        expected=f"a folder or .zip with {_CATEGORIES}, train_test_split/ and a folder for each category",
        remedy="Give the folder shapenetcore_partanno_segmentation_benchmark_v0_normal",
    )


def _listed(root: Path, which: str, name: str) -> _Listed:
    rows = [line.lower().split() for line in _lines(root / _CATEGORIES, name)]
    if any(len(row) != 2 for row in rows):
        raise UserError(f"{_CATEGORIES} has another form", expected="a category and its folder in each line")
    categories = {folder: category for category, folder in rows}
    strange = sorted(set(categories.values()) - set(SHAPENETPART))
    if strange:
        raise UserError(f"{_CATEGORIES} names an unknown category", got=strange[0], expected=", ".join(SHAPENETPART))
    path = root / _LISTS.format(which)
    try:
        entries: object = json.loads("\n".join(_lines(path, name)))
    except json.JSONDecodeError as error:
        raise UserError(f"{path.name} is not valid JSON", remedy="Unpack the archive again") from error
    names: list[str] = []
    labels: list[int] = []
    numbers = {category: number for number, category in enumerate(SHAPENETPART)}
    for entry in entries if isinstance(entries, list) else []:  # pyright: ignore[reportUnknownVariableType]
        synset, _, file = str(entry).rpartition("/")  # pyright: ignore[reportUnknownArgumentType]
        category = categories.get(synset.rpartition("/")[2])
        if category is None or file in ("", ".", ".."):
            raise UserError(f"{path.name} has an entry of no category", got=str(entry)[:200])  # pyright: ignore[reportUnknownArgumentType]
        inside(root, f"{synset.rpartition('/')[2]}/{file}.txt", path.name)
        names.append(f"{synset.rpartition('/')[2]}/{file}.txt")
        labels.append(numbers[category])
    return _Listed(tuple(names), tuple(labels))


def _lines(path: Path, name: str) -> list[str]:
    require_confined(path, path.name)
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} of {name} cannot be read", remedy="Unpack the archive again") from error


def _kept_or_read(
    root: Path, origin: Path, listed: Mapping[str, _Listed], progress: Progress | None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return (clouds (N, 3), parts (N,)) of all lists in their order, from the cache where nothing has changed."""
    from ..models.weight_files import cache_dir

    names = [name for one in listed.values() for name in one.names]
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} files that ShapeNetPart's lists name are missing, the first is",
            got=missing[0],
            remedy="Fetch the archive again",
        )
    place = cache_dir() / "data" / f"shapenetpart-{_key(root, origin, names)}.npz"
    try:
        with np.load(place, allow_pickle=False) as kept:
            rows, sizes = kept["rows"], kept["sizes"]
            parts = kept["parts"]
    except (OSError, ValueError, KeyError):
        rows, parts, sizes = _read_all(root, names, progress)
        _keep(place, rows, parts, sizes)
    cuts = np.cumsum(sizes)[:-1]
    return np.split(rows, cuts), np.split(parts, cuts)


def _key(root: Path, origin: Path, names: list[str]) -> str:
    """Return a name for what these files hold; of a zip only the zip itself counts, not where it was unpacked."""
    total = hashlib.sha256(f"{_VERSION} {origin.resolve()}".encode())
    if origin.is_file():
        total.update(f"{origin.stat().st_size} {origin.stat().st_mtime_ns}".encode())
    for name in names:
        stat = (root / name).stat()
        total.update(f"{name} {stat.st_size} {0 if origin.is_file() else stat.st_mtime_ns}\n".encode())
    return total.hexdigest()[:24]


def _read_all(root: Path, names: list[str], progress: Progress | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    clouds: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    for at, name in enumerate(names):
        cloud, own = _read(root / name, name)
        clouds.append(cloud)
        parts.append(own)
        if progress:
            progress("reading ShapeNetPart (only the first time)", at + 1, len(names))
    return np.concatenate(clouds), np.concatenate(parts), np.array([len(cloud) for cloud in clouds], np.int64)


def _read(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (points (N, 3) float32, parts (N,) uint16) of one file; UserError for what is no such table."""
    require_confined(path, name)
    text = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy warns where the text is no number, and would go on without the rest
        try:
            values: np.ndarray = np.fromstring(text.decode("ascii"), dtype=np.float64, sep=" ")
        except (DeprecationWarning, ValueError) as error:
            raise UserError(
                f"{name} holds something that is no number", expected="lines of x y z nx ny nz part"
            ) from error
    lines = sum(1 for line in text.splitlines() if line.strip())
    if not lines or len(values) != lines * _COLUMNS:
        raise UserError(
            f"{name} is not of ShapeNetPart's layout",
            got=f"{len(values)} numbers in {lines} lines",
            expected=f"{_COLUMNS} in each: x y z nx ny nz part",
        )
    table = values.reshape(lines, _COLUMNS)
    return check_cloud(table, name), whole_numbers(table[:, 6], name)


def whole_numbers(column: np.ndarray, name: str) -> np.ndarray:
    """Return labels (N,) as uint16, or refuse: a fraction, a negative, NaN, or beyond 65,535."""
    good = np.isfinite(column) & (column == np.rint(column)) & (column >= 0) & (column < 2**16)
    if not good.all():
        at = int(np.flatnonzero(~good)[0])
        raise UserError(
            f"{name} has a label that is no part's number (point {at + 1})",
            got=float(column[at]),
            expected="a whole number from 0",
        )
    return column.astype(np.uint16)


def _check_parts(parts: np.ndarray, label: int, name: str) -> None:
    category = list(SHAPENETPART)[label]
    first = first_parts(numbered_parts(SHAPENETPART.values()))[label]
    last = first + SHAPENETPART[category] - 1
    strange = parts[(parts < first) | (parts > last)]
    if len(strange):
        raise UserError(
            f"{name} has a point of a part that a {category} does not have",
            got=int(strange[0]),
            expected=f"{first} to {last}",
            remedy="Fetch the archive again",
        )


def _keep(place: Path, rows: np.ndarray, parts: np.ndarray, sizes: np.ndarray) -> None:
    draft = place.with_name(f".{place.name}.{os.getpid()}.npz")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(draft, rows=rows, parts=parts, sizes=sizes)
        os.replace(draft, place)
    except OSError:  # no room, or no permission: the run itself needs no cache
        draft.unlink(missing_ok=True)


def _notes(listed: Mapping[str, _Listed]) -> tuple[str, ...]:
    found = [len(one.names) for one in listed.values()]
    if found == list(_SIZES.values()):
        return ()
    wanted, here = ("{} / {} / {}".format(*numbers) for numbers in (_SIZES.values(), found))
    return (f"ShapeNetPart was published with {wanted} clouds to train, validate and test; these files have {here}",)
