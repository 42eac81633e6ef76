"""Class folders on disk: `root/<class>/*`, with or without train/, val/ and test/, whatever the files are."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import UserError
from .archive import unpacked
from .dataset import Split
from .root import visible
from .split import require_every_class

PARTS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}
"""What a folder of a part, or the split in a list, may be called."""
_MOST_NOTES = 50

Layout = dict[str, dict[str, list[Path]]]
"""part → class → its files, all sorted."""


@dataclass(frozen=True)
class FileKind:
    """Which files are taken: their endings in lower case without the dot, and what one is called."""

    extensions: frozenset[str]
    one: str

    def takes(self, name: str) -> bool:
        return Path(name).suffix[1:].lower() in self.extensions


@dataclass
class Left:
    """What the reader left out on its way, for the notes."""

    ignored: int = 0
    skipped: list[str] = field(default_factory=list[str])

    def notes(self) -> list[str]:
        notes: list[str] = []
        if self.ignored:
            notes.append(f"{self.ignored} files were ignored: hidden, outside a class folder or of no known kind")
        notes += [f"skipped: {reason}" for reason in self.skipped[:_MOST_NOTES]]
        if len(self.skipped) > _MOST_NOTES:
            notes.append(f"skipped: {len(self.skipped) - _MOST_NOTES} more files")
        return notes


@contextmanager
def opened(path: Path, wanted: Callable[[PurePosixPath], bool] = lambda _: True) -> Generator[Path, None, None]:
    """Yield the folder at `path`, or one with those members of the zip at `path` that are `wanted`, removed at the end.

    Raises UserError.
    """
    if path.is_dir():
        yield path
    elif path.is_file() and path.suffix.lower() == ".zip":
        with unpacked(path, wanted=wanted) as root:
            yield root
    elif path.exists():
        raise UserError("the data set is not of a known kind", got=str(path), expected="a folder or a .zip file")
    else:
        raise UserError("the data set does not exist", got=str(path), remedy="Check the path")


def find(root: Path, name: str, kind: FileKind, left: Left) -> tuple[Path, Layout, tuple[str, ...]]:
    """Return (the folder that names are relative to, its layout, the classes' names sorted).

    Raises UserError, calling the data set `name`, for no or one class, an empty class, and classes of train/ and
    test/ that differ.
    """
    root, layout = lay_out(root, kind, left)
    return root, layout, check_classes(layout, name, kind)


def lay_out(root: Path, kind: FileKind, left: Left) -> tuple[Path, Layout]:
    """Return (the folder that names are relative to, what stands in which part and class), sound or not."""
    root = _descend(root)
    return root, _layout(root, kind, left)


def merged(layout: Layout) -> Layout:
    """Return all parts as one training part."""
    files: dict[str, list[Path]] = {}
    for folders in layout.values():
        for name, found in folders.items():
            files[name] = [*files.get(name, []), *found]
    return {"train": files} if files else {}


def require_sound(split: Split, classes: tuple[str, ...], part: str, left: Left) -> None:
    """Refuse a part in which a class has too few readable files, and say why files were skipped."""
    try:
        require_every_class(split, classes, part, least=2 if part == "train" else 1)
    except UserError as error:
        if not left.skipped:
            raise
        reason = f"{len(left.skipped)} files were skipped, the first because: {left.skipped[0].rstrip('.')}"
        raise UserError(
            error.what, got=error.got, expected=error.expected, remedy=f"{error.remedy}; {reason}"
        ) from error


def walk(root: Path, takes: Callable[[str], bool]) -> list[Path]:
    """Return every file below `root` that is taken by its name, sorted; hidden ones are not looked at."""
    found: list[Path] = []
    for where, inner, names in os.walk(root):
        inner[:] = [name for name in inner if visible(Path(where, name))]
        found += [Path(where, name) for name in names if takes(name) and visible(Path(where, name))]
    return sorted(found)


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if visible(entry) and entry.is_dir())


def _descend(root: Path) -> Path:
    """A zip often holds one folder, and that one the data set: go down while there is no choice."""
    folders = _visible(root)
    while len(folders) == 1 and _visible(folders[0]):
        root, folders = folders[0], _visible(folders[0])
    return root


def _layout(root: Path, kind: FileKind, left: Left) -> Layout:
    folders = _visible(root)
    names = {folder.name.lower() for folder in folders}
    # A class may well be called train: the word means a part only where nothing but parts stands beside it.
    if "train" in names and names <= set(PARTS) and all(_visible(folder) for folder in folders):
        found = [(PARTS[folder.name.lower()], inner, inner) for folder in folders for inner in _visible(folder)]
    elif folders and all("train" in {inner.name.lower() for inner in _visible(folder)} for folder in folders):
        found = [
            (PARTS[inner.name.lower()], folder, inner)
            for folder in folders
            for inner in _visible(folder)
            if inner.name.lower() in PARTS
        ]
    else:
        found = [("train", folder, folder) for folder in folders]
    layout: Layout = {}
    for part, folder, inner in found:
        layout.setdefault(part, {})[folder.name] = walk(inner, kind.takes)
    taken = sum(len(files) for part in layout.values() for files in part.values())
    left.ignored = sum(len(files) for _, _, files in os.walk(root)) - taken
    return {part: layout[part] for part in ("train", "validation", "test") if part in layout}


def check_classes(layout: Layout, name: str, kind: FileKind) -> tuple[str, ...]:
    """Return the classes' names sorted; UserError for what makes the layout unsound, see `find`."""
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
                    f"{name}: class folder {folder} ({part}) holds no {kind.one}",
                    expected="files of a known kind: " + ", ".join(sorted(kind.extensions)),
                    remedy="Add files to it or remove the folder",
                )
    return tuple(sorted(train))
