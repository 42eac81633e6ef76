"""A folder (or zip) of class folders becomes clouds: `path/<class>/*`, with or without `train/` and `test/`."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from .archive import unpacked
from .clouds import Clouds, Progress, check_cloud, resize
from .config import FolderData
from .files import EXTENSIONS, read_clouds
from .split import Parts, hold_out_test, require_every_class

_PARTS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}
_MOST_NOTES = 50

_Layout = dict[str, dict[str, list[Path]]]
"""part → class → its files, all sorted."""


@dataclass
class _Log:
    """What the reader saw on its way, for the notes."""

    ignored: int = 0
    skipped: list[str] = field(default_factory=list[str])
    sizes: Counter[str] = field(default_factory=Counter[str])

    def notes(self, points: int) -> tuple[str, ...]:
        notes: list[str] = []
        if self.sizes["subset"]:
            notes.append(f"{self.sizes['subset']} clouds had more than {points} points: a seeded random subset of each")
        if self.sizes["repeated"]:
            notes.append(f"{self.sizes['repeated']} clouds had fewer than {points} points: some points come twice")
        if self.ignored:
            notes.append(f"{self.ignored} files were ignored: hidden, outside a class folder or of no known kind")
        notes += [f"skipped: {reason}" for reason in self.skipped[:_MOST_NOTES]]
        if len(self.skipped) > _MOST_NOTES:
            notes.append(f"skipped: {len(self.skipped) - _MOST_NOTES} more files")
        return tuple(notes)


def read_folder(config: FolderData, *, least: int = 1, progress: Progress | None = None) -> Parts:
    """Return the clouds below `config.path`, each of `config.preparation.points` points, not yet normalised.

    Class names are the folders' names, sorted; a cloud's name is its path below the root. Files that cannot be read,
    or that hold fewer than `least` points, are skipped and named in the notes. Where there is no test/ part one is
    held out. Raises UserError for what leaves no sound data set: no or one class, an empty class, fewer than two
    readable files in a class, classes of train/ and test/ that differ.
    """
    path = config.path.expanduser()
    if path.is_dir():
        parts = _read(path, config, least, progress)
    elif path.is_file() and path.suffix.lower() == ".zip":
        with unpacked(path) as root:
            parts = _read(root, config, least, progress)
    elif path.exists():
        raise UserError("the data set is not of a known kind", got=str(path), expected="a folder or a .zip file")
    else:
        raise UserError("the data set does not exist", got=str(path), remedy="Check the path")
    return hold_out_test(parts, config.test_share, config.split_seed)


def _read(root: Path, config: FolderData, least: int, progress: Progress | None) -> Parts:
    log = _Log()
    root = _descend(root)
    layout = _layout(root, log)
    classes = _check_classes(layout, config.path.name)
    total = sum(len(files) for part in layout.values() for files in part.values())
    done = 0
    read: dict[str, Clouds] = {}
    for part, folders in layout.items():
        clouds: list[np.ndarray] = []
        labels: list[int] = []
        names: list[str] = []
        for label, name in enumerate(classes):
            for file in folders[name]:
                for cloud_name, cloud in _file(root, file, config, least, log):
                    clouds.append(cloud)
                    labels.append(label)
                    names.append(cloud_name)
                done += 1
                if progress:
                    progress("reading files", done, total)
        stacked = np.stack(clouds) if clouds else np.empty((0, config.preparation.points, 3), np.float32)
        read[part] = Clouds(stacked, np.array(labels, dtype=np.int64), tuple(names))
        _require(read[part], classes, part, log)
    notes = log.notes(config.preparation.points)
    return Parts(read["train"], read.get("validation"), read.get("test"), classes, notes)


def _file(root: Path, file: Path, config: FolderData, least: int, log: _Log) -> list[tuple[str, np.ndarray]]:
    name = file.relative_to(root).as_posix()
    points = config.preparation.points
    # The stream depends on the file's own name only: other files may come and go without changing this cloud.
    rng = np.random.default_rng([config.split_seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    try:
        raw = read_clouds(file, count=points, rng=rng, name=name)
    except UserError as error:
        log.skipped.append(str(error))
        return []
    kept: list[tuple[str, np.ndarray]] = []
    for index, cloud in enumerate(raw):
        cloud_name = name if len(raw) == 1 else f"{name}[{index}]"
        try:
            check_cloud(cloud, cloud_name, least)
        except UserError as error:
            log.skipped.append(str(error))
            continue
        if len(cloud) != points:
            log.sizes["subset" if len(cloud) > points else "repeated"] += 1
        kept.append((cloud_name, resize(cloud, points, rng)))
    return kept


def _require(clouds: Clouds, classes: tuple[str, ...], part: str, log: _Log) -> None:
    try:
        require_every_class(clouds, classes, part, least=2 if part == "train" else 1)
    except UserError as error:
        if not log.skipped:
            raise
        reason = f"{len(log.skipped)} files were skipped, the first because: {log.skipped[0].rstrip('.')}"
        raise UserError(
            error.what, got=error.got, expected=error.expected, remedy=f"{error.remedy}; {reason}"
        ) from error


def _visible(folder: Path) -> list[Path]:
    return sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
    )


def _descend(root: Path) -> Path:
    """A zip often holds one folder, and that one the data set: go down while there is no choice."""
    folders = _visible(root)
    while len(folders) == 1 and _visible(folders[0]):
        root, folders = folders[0], _visible(folders[0])
    return root


def _layout(root: Path, log: _Log) -> _Layout:
    folders = _visible(root)
    names = {folder.name.lower() for folder in folders}
    # A class may well be called train: the word means a part only where nothing but parts stands beside it.
    if "train" in names and names <= set(_PARTS) and all(_visible(folder) for folder in folders):
        found = [(_PARTS[folder.name.lower()], inner, inner) for folder in folders for inner in _visible(folder)]
    elif folders and all("train" in {inner.name.lower() for inner in _visible(folder)} for folder in folders):
        found = [
            (_PARTS[inner.name.lower()], folder, inner)
            for folder in folders
            for inner in _visible(folder)
            if inner.name.lower() in _PARTS
        ]
    else:
        found = [("train", folder, folder) for folder in folders]
    layout: _Layout = {}
    for part, folder, inner in found:
        layout.setdefault(part, {})[folder.name] = _files(inner)
    taken = sum(len(files) for part in layout.values() for files in part.values())
    log.ignored = sum(len(files) for _, _, files in os.walk(root)) - taken
    return {part: layout[part] for part in ("train", "validation", "test") if part in layout}


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for where, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith((".", "__MACOSX"))]
        found += [Path(where, name) for name in names if not name.startswith(".") and _known(name)]
    return sorted(found)


def _known(name: str) -> bool:
    return Path(name).suffix[1:].lower() in EXTENSIONS


def _check_classes(layout: _Layout, name: str) -> tuple[str, ...]:
    train = layout.get("train", {})
    if not train:
        raise UserError(
            f"{name} has no class folder",
            expected="one sub-folder per class, or train/ and test/ with such sub-folders",
        )
    for part, folders in layout.items():
        if part == "train":
            continue
        if set(folders) != set(train):
            only = sorted(set(folders) ^ set(train))
            raise UserError(
                f"{name}: the classes of train/ and {part}/ differ",
                got=only[:10],
                expected="the same class folders in both",
                remedy="Add the missing folders or remove the others",
            )
    if len(train) < 2:
        raise UserError(f"{name} has a single class", got=min(train), expected="at least 2 class folders")
    for part, folders in layout.items():
        for folder, files in sorted(folders.items()):
            if not files:
                raise UserError(
                    f"{name}: class folder {folder} ({part}) holds no mesh or cloud",
                    expected="files of a known kind: " + ", ".join(sorted(EXTENSIONS)),
                    remedy="Add files to it or remove the folder",
                )
    return tuple(sorted(train))
