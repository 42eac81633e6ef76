"""A folder (or zip) of class folders, or a list of files, becomes clouds, with or without a test part."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from .class_folders import FileKind, Layout, Left, check_classes, lay_out, merged, opened, require_sound
from .cloud_list import list_in, read_cloud_list
from .clouds import Clouds, check_cloud, resize
from .config import FolderData
from .dataset import Progress
from .facts import copy_form
from .files import EXTENSIONS, read_shapes
from .split import Parts, hold_out_test

KIND = FileKind(frozenset(EXTENSIONS), "mesh or cloud")


@dataclass
class _Log(Left):
    """What was left out, and which clouds had to be thinned or filled up."""

    sizes: Counter[str] = field(default_factory=Counter[str])

    def all_notes(self, points: int) -> tuple[str, ...]:
        notes: list[str] = []
        if self.sizes["subset"]:
            notes.append(f"{self.sizes['subset']} clouds had more than {points} points: a seeded random subset of each")
        if self.sizes["repeated"]:
            notes.append(f"{self.sizes['repeated']} clouds had fewer than {points} points: some points come twice")
        return (*notes, *self.notes())


def read_folder(config: FolderData, *, least: int = 1, progress: Progress | None = None) -> Parts:
    """Return the clouds below `config.path`, each of `config.preparation.points` points, not yet normalised.

    Class names are the folders' names, sorted; a cloud's name is its path below the root. Files that cannot be read,
    or that hold fewer than `least` points, are skipped and named in the notes. Where there is no test/ part one is
    held out. Raises UserError for what leaves no sound data set: no or one class, an empty class, fewer than two
    readable files in a class, classes of train/ and test/ that differ.
    """
    log = _Log()
    with laid_out(config.path.expanduser(), log) as (root, layout):
        layout = merged(layout) if config.repair.resplit is not None else layout
        parts = _read(root, layout, config, least, log, progress)
    return hold_out_test(parts, config.test_share, config.split_seed)


@contextmanager
def laid_out(path: Path, left: Left) -> Generator[tuple[Path, Layout], None, None]:
    """Yield (the folder that names are relative to, which files are of which part and class), sound or not.

    `path` is a folder, a zip or a .csv list; a list may also lie in a folder or zip without (sound) class folders.
    """
    if path.is_file() and path.suffix.lower() == ".csv":
        yield path.parent, read_cloud_list(path)
        return
    with opened(path) as top:
        root, layout = lay_out(top, KIND, left)
        listed = list_in(root) or list_in(top)
        if listed is not None and not _sound(layout, path.name):
            # Files beside a list may lie in folders too, which then are no classes.
            layout = read_cloud_list(listed, confined=True)
            root, left.ignored = listed.parent, 0
        yield root, layout


def _sound(layout: Layout, name: str) -> bool:
    try:
        check_classes(layout, name, KIND)
    except UserError:
        return False
    return True


def _read(root: Path, layout: Layout, config: FolderData, least: int, log: _Log, progress: Progress | None) -> Parts:
    classes = check_classes(layout, config.path.name, KIND)
    total = sum(len(files) for part in layout.values() for files in part.values())
    done = 0
    read: dict[str, Clouds] = {}
    for part, folders in layout.items():
        clouds: list[np.ndarray] = []
        labels: list[int] = []
        names: list[str] = []
        forms: list[np.ndarray] = []
        for label, name in enumerate(classes):
            for file in folders[name]:
                for cloud_name, cloud, form in _file(root, file, config, least, log):
                    clouds.append(cloud)
                    labels.append(label)
                    names.append(cloud_name)
                    forms += [] if form is None else [form]
                done += 1
                if progress:
                    progress("reading files", done, total)
        stacked = np.stack(clouds) if clouds else np.empty((0, config.preparation.points, 3), np.float32)
        read[part] = Clouds(stacked, np.array(labels, dtype=np.int64), tuple(names), tuple(forms))
        require_sound(read[part], classes, part, log)
    notes = log.all_notes(config.preparation.points)
    return Parts(read["train"], read.get("validation"), read.get("test"), classes, notes)


def name_of(file: Path, root: Path) -> str:
    """Return what a file is called: its path below `root`, or where it lies when that is elsewhere."""
    return (file.relative_to(root) if file.is_relative_to(root) else file).as_posix()


def _file(
    root: Path, file: Path, config: FolderData, least: int, log: _Log
) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
    name = name_of(file, root)
    points = config.preparation.points
    # The stream depends on the file's own name only: other files may come and go without changing this cloud.
    rng = np.random.default_rng([config.split_seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    try:
        raw = read_shapes(file, count=points, rng=rng, name=name)
    except UserError as error:
        log.skipped.append(str(error))
        return []
    kept: list[tuple[str, np.ndarray, np.ndarray | None]] = []
    for index, (cloud, stored) in enumerate(raw):
        cloud_name = name if len(raw) == 1 else f"{name}[{index}]"
        try:
            check_cloud(cloud, cloud_name, least)
        except UserError as error:
            log.skipped.append(str(error))
            continue
        if len(cloud) != points:
            log.sizes["subset" if len(cloud) > points else "repeated"] += 1
        form = None if config.repair.copies == "keep" else copy_form(stored[:, :3])
        kept.append((cloud_name, resize(cloud, points, rng), form))
    return kept
