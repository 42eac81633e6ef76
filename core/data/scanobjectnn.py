"""ScanObjectNN from the official HDF5 files, a zip of them, or the Hub; every coordinate as it is stored."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import UserError
from .class_folders import opened, walk
from .clouds import Clouds
from .config import ScanObjectNNData
from .dataset import Progress
from .h5 import check_labels, read_file
from .hub import read_split
from .names import SCANOBJECTNN
from .split import Parts, require_every_class

HUB = "jxie/scanobjectnn"
_ON_DISK = {
    "objbg": ("main_split", "objectdataset.h5"),
    "objonly": ("main_split_nobg", "objectdataset.h5"),
    "hardest": ("main_split", "objectdataset_augmentedrot_scale75.h5"),
}
_ON_HUB = {"objbg": "bg", "objonly": "nobg", "hardest": "hardest"}
PUBLISHED_SIZES = {"objbg": (2309, 581), "objonly": (2309, 581), "hardest": (11416, 2882)}


def read_scanobjectnn(config: ScanObjectNNData, *, progress: Progress | None = None) -> Parts:
    """Return the official training and test part of one variant, with all points of each cloud.

    Raises UserError for files that are missing, cut short or of another layout. Where the sizes are not the published
    ones the notes say so.
    """
    read = _from_hub(config, progress) if config.source == "hub" else _from_disk(config, progress)
    for part, clouds in read.items():
        check_labels(clouds.labels, SCANOBJECTNN, f"the {part} part of ScanObjectNN {config.variant}")
    require_every_class(read["train"], SCANOBJECTNN, "train")
    return Parts(read["train"], None, read["test"], SCANOBJECTNN, _notes(config, read))


def _notes(config: ScanObjectNNData, read: dict[str, Clouds]) -> tuple[str, ...]:
    notes: list[str] = []
    found, published = (len(read["train"]), len(read["test"])), PUBLISHED_SIZES[config.variant]
    if found != published:
        notes.append(
            f"ScanObjectNN {config.variant} was published with {published[0]} training and {published[1]} test clouds; "
            f"these files have {found[0]} and {found[1]}: results cannot be compared"
        )
    if config.source == "hub" and config.path is None and config.revision is None:
        notes.append(f"{HUB}: the newest revision; pin one with data.revision")
    return tuple(notes)


def _from_disk(config: ScanObjectNNData, progress: Progress | None) -> dict[str, Clouds]:
    folder, ending = _ON_DISK[config.variant]
    names = {"train": f"training_{ending}", "test": f"test_{ending}"}
    path = (config.path or Path()).expanduser()

    def wanted(member: PurePosixPath) -> bool:
        return member.name in names.values() and member.parent.name in (folder, "")

    read: dict[str, Clouds] = {}
    with opened(path, wanted) as root:
        for part, name in names.items():
            if progress:
                progress(f"reading {name}", len(read), len(names))
            read[part] = Clouds(*read_file(_one(root, folder, name, path)))
    return read


def _one(root: Path, folder: str, name: str, given: Path) -> Path:
    """Return the only file of that name in a folder of that name: OBJ_BG and OBJ_ONLY differ in nothing else."""
    named = walk(root, lambda found: found == name)
    # The path may be the very folder, given under a name of its own or as a link.
    found = [file for file in named if file.parent.name == folder] or [
        file for file in named if file.parent == root and given.resolve().name == folder
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{folder}/{name} is there more than once",
            got=sorted(str(file) for file in found),
            remedy="Name one folder",
        )
    elsewhere = sorted({file.parent.name for file in named})
    raise UserError(
        f"{given} has no {folder}/{name}",
        got=f"the file in {', '.join(elsewhere)}" if elsewhere else None,
        expected="the official tree: h5_files/main_split (OBJ_BG, PB_T50_RS) and h5_files/main_split_nobg (OBJ_ONLY)",
        remedy="Keep the folders' names, which alone tell the variants apart",
    )


def _from_hub(config: ScanObjectNNData, progress: Progress | None) -> dict[str, Clouds]:
    repository = HUB if config.path is None else str(config.path.expanduser())
    read: dict[str, Clouds] = {}
    for part in ("train", "test"):
        name = f"{_ON_HUB[config.variant]}_{part}"
        points, labels = read_split(repository, name, config.revision, progress)
        read[part] = Clouds(points, labels, tuple(f"{name}[{i}]" for i in range(len(labels))))
        if not np.isfinite(points).all():
            raise UserError(f"{name} of {repository} has clouds with NaN or infinite coordinates")
    return read
