"""VTAB-1k as the NOAH authors packed it: nineteen tasks, each with lists of 1,000 training images and its full test."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .class_folders import Left
from .config import VTAB_CLASSES, VtabData
from .dataset import Progress
from .images import Listed, decode_parts, read_list
from .root import inside
from .split import Parts


def read_vtab(config: VtabData, *, progress: Progress | None = None) -> Parts:
    """Return the images of one task by its lists: train800val200 and test, or train800, val200 and test.

    The protocol needs every image: UserError where one is missing or cannot be read, and for labels beyond the task's.
    """
    root = config.path.expanduser()
    folder = root if root.name == config.task and (root / "test.txt").is_file() else root / config.task
    if not folder.is_dir():
        raise UserError(
            f"There is no task {config.task} in {config.path}",
            expected=f"a folder {config.task}/ with lists and images/, as NOAH's archive has it",
            remedy="Name the folder vtab-1k itself",
        )
    names = {"train": "train800", "validation": "val200"} if config.tune else {"train": "train800val200"}
    listed = {part: _listed(folder, f"{name}.txt", config) for part, name in {**names, "test": "test"}.items()}
    left = Left()
    read = decode_parts(listed, config.preparation, left, progress, None)
    if left.skipped:
        total = sum(len(one.files) for one in listed.values())
        raise UserError(
            f"{len(left.skipped)} of {total} images of {config.task} are missing or broken, the first because: "
            + left.skipped[0].rstrip("."),
            expected="all of them, without which results cannot be compared",
            remedy="Fetch the task again: copies are known to be incomplete",
        )
    classes = tuple(f"class {label}" for label in range(VTAB_CLASSES[config.task]))
    notes = (f"{config.task}: classes are numbered as in its lists",)
    return Parts(read["train"], read.get("validation"), read["test"], classes, notes, complete=False)


def _listed(folder: Path, name: str, config: VtabData) -> Listed:
    if not (folder / name).is_file():
        raise UserError(f"The list {name} of {config.task} is missing", got=str(folder / name))
    lines = read_list(folder / name)
    count = VTAB_CLASSES[config.task]
    for file, label in lines:
        if not label.isdigit() or int(label) >= count:
            raise UserError(f"{name} has a label that {config.task} does not have", got=f"{file} {label}")
    # Lists name files below the task's folder; some copies name the task's folder too.
    source = f"{name} of {config.task}"
    base = folder if inside(folder, lines[0][0], source).exists() else folder.parent
    base = base if inside(base, lines[0][0], source).exists() else folder
    files = [inside(base, file, source) for file, _ in lines]
    return Listed(files, [int(label) for _, label in lines], [file for file, _ in lines])
