"""A folder (or zip) of class folders becomes clouds: `path/<class>/*`, with or without `train/` and `test/`."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from .class_folders import FileKind, Left, find, opened, require_sound
from .clouds import Clouds, check_cloud, resize
from .config import FolderData
from .dataset import Progress
from .files import EXTENSIONS, read_clouds
from .split import Parts, hold_out_test

_KIND = FileKind(frozenset(EXTENSIONS), "mesh or cloud")


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
    with opened(config.path.expanduser()) as root:
        parts = _read(root, config, least, progress)
    return hold_out_test(parts, config.test_share, config.split_seed)


def _read(root: Path, config: FolderData, least: int, progress: Progress | None) -> Parts:
    log = _Log()
    root, layout, classes = find(root, config.path.name, _KIND, log)
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
        require_sound(read[part], classes, part, log)
    notes = log.all_notes(config.preparation.points)
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
