"""Photographs with labels: from class folders or list files to squares in memory, or decoded batch by batch."""

from __future__ import annotations

import csv
import hashlib
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..errors import UserError
from .class_folders import FileKind, Left, find, opened, require_sound
from .config import ImagesData
from .dataset import Progress
from .decoding import Decoder
from .picture import IMAGE_EXTENSIONS, ImagePreparation, decoding_threads, fit, read_image
from .root import listed_file, require_confined
from .split import Parts, hold_out_test

if TYPE_CHECKING:
    import torch

    from .feed import ImageFeed

RESIDENT_BYTES = 1 << 30
"""A split whose squares take more than this is decoded batch by batch."""

_KIND = FileKind(IMAGE_EXTENSIONS, "image")


@dataclass(frozen=True)
class Images:
    """One split. `files` and their `hashes`; `pixels` (S, H, W, 3) uint8 of all, or None where they are too many."""

    files: tuple[Path, ...]
    labels: np.ndarray
    names: tuple[str, ...]
    hashes: tuple[bytes, ...]
    preparation: ImagePreparation
    pixels: np.ndarray | None
    place: object = None
    """Keeps a folder that the files were unpacked to, as long as any split needs it."""
    decoder: Decoder | None = None
    """Decodes files that this process must not open."""
    noun: ClassVar[str] = "images"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Images:
        chosen: list[int] = index.tolist()
        return replace(
            self,
            files=tuple(self.files[i] for i in chosen),
            labels=self.labels[index],
            names=tuple(self.names[i] for i in chosen),
            hashes=tuple(self.hashes[i] for i in chosen),
            pixels=None if self.pixels is None else self.pixels[index],
        )

    def digests(self) -> list[bytes]:
        return [
            hashlib.sha256(int(label).to_bytes(8, "little") + content).digest()
            for content, label in zip(self.hashes, self.labels, strict=True)
        ]

    def square(self, index: int) -> np.ndarray:
        """Return (H, W, 3) uint8 of one image, decoded now unless it is in memory. UserError when it is gone."""
        if self.pixels is not None:
            return self.pixels[index]
        if self.decoder is not None:
            return self.decoder.square(self.files[index], self.names[index], self.preparation)
        return fit(read_image(self.files[index], self.names[index]), self.preparation)

    def feed(self, device: torch.device) -> ImageFeed:
        from .feed import ImageFeed  # here, because a process that only parses files does without torch

        return ImageFeed(self, device)


@dataclass(frozen=True)
class Listed:
    """Files of one part with their labels and names, before any was opened."""

    files: list[Path]
    labels: list[int]
    names: list[str]


def decode(
    listed: Listed, preparation: ImagePreparation, left: Left, progress: Callable[[int], None], place: object = None
) -> Images:
    """Return the split of all files that can be read; the others go to `left` with the reason.

    Every file is decoded once here, even where the squares are too many to keep: a broken file is found now, and not
    after hours of training.
    """
    size, count = preparation.size, len(listed.files)
    keep = count * size * size * 3 <= RESIDENT_BYTES
    pixels = np.empty((count if keep else 0, size, size, 3), np.uint8)
    hashes: list[bytes] = []
    sound: list[int] = []
    with ThreadPoolExecutor(decoding_threads(), thread_name_prefix="decode") as pool:

        def read(i: int) -> bytes | str:
            try:
                content = _content(listed.files[i], listed.names[i])
                square = fit(read_image(content, listed.names[i]), preparation)
            except UserError as error:
                return str(error)
            if keep:
                pixels[i] = square
            return hashlib.sha256(content).digest()

        for i, found in enumerate(pool.map(read, range(count))):
            if isinstance(found, str):
                left.skipped.append(found)
            else:
                hashes.append(found)
                sound.append(i)
            progress(i + 1)
    return Images(
        tuple(listed.files[i] for i in sound),
        np.array([listed.labels[i] for i in sound], dtype=np.int64),
        tuple(listed.names[i] for i in sound),
        tuple(hashes),
        preparation,
        (pixels if len(sound) == count else pixels[sound]) if keep else None,
        place,
    )


def _content(path: Path, name: str) -> bytes:
    require_confined(path, name)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{name} does not exist") from error
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror})") from error


def read_images(config: ImagesData, *, progress: Progress | None = None) -> Parts:
    """Return the images of class folders, of a zip of them, or of list files.

    Class names are the folders' names or the labels as written, sorted; an image's name is its path below the root.
    Files that cannot be read are skipped and named in the notes. Where there is no test part one is held out.
    Raises UserError for what leaves no sound data set.
    """
    path = config.path.expanduser()
    left = Left()
    place: object = None
    if path.is_file() and path.suffix.lower() in (".csv", ".txt"):
        classes, listed = _from_lists(config, path)
    else:
        if config.test is not None or config.classes is not None:
            raise UserError(
                "data.test and data.classes belong to list files, but data.path is none",
                got=str(config.path),
                expected="a .csv or .txt file with lines of file and label",
                remedy="Leave them empty, or name a list file",
            )
        place = _Opened(path)
        root, layout, classes = find(place.root, config.path.name, _KIND, left)
        listed = {part: _of_folders(root, folders, classes) for part, folders in layout.items()}
    read = decode_parts(listed, config.preparation, left, progress, place)
    for part, split in read.items():
        # The lists of a benchmark may well test some classes only; a class folder without images is a mistake.
        if part == "train" or place is not None:
            require_sound(split, classes, part, left)
    notes = (*left.notes(), *_untested(read.get("test"), classes))
    parts = Parts(read["train"], read.get("validation"), read.get("test"), classes, notes)
    return hold_out_test(parts, config.test_share, config.split_seed)


def _untested(test: Images | None, classes: tuple[str, ...]) -> list[str]:
    missing = [] if test is None else sorted(set(range(len(classes))) - set(test.labels.tolist()))
    return ["no test image of: " + ", ".join(classes[label] for label in missing)] if missing else []


class _Opened:
    """The folder at a path, or what the zip there holds, unpacked until the last user of this object is gone."""

    def __init__(self, path: Path) -> None:
        stack = ExitStack()
        self.root = stack.enter_context(opened(path))
        weakref.finalize(self, stack.close)


def decode_parts(
    listed: dict[str, Listed], preparation: ImagePreparation, left: Left, progress: Progress | None, place: object
) -> dict[str, Images]:
    """Return {part: its split}; `progress` counts over all parts."""
    total = sum(len(one.files) for one in listed.values())
    read: dict[str, Images] = {}
    for part, one in listed.items():
        before = sum(len(listed[name].files) for name in read)

        def tell(done: int, before: int = before) -> None:
            if progress:
                progress("reading images", before + done, total)

        read[part] = decode(one, preparation, left, tell, place)
    return read


def _of_folders(root: Path, folders: dict[str, list[Path]], classes: tuple[str, ...]) -> Listed:
    pairs = [(file, label) for label, name in enumerate(classes) for file in folders[name]]
    names = [file.relative_to(root).as_posix() for file, _ in pairs]
    return Listed([file for file, _ in pairs], [label for _, label in pairs], names)


def _from_lists(config: ImagesData, train: Path) -> tuple[tuple[str, ...], dict[str, Listed]]:
    paths = {"train": train}
    if config.test is not None:
        paths["test"] = config.test.expanduser()
    rows = {part: read_list(path) for part, path in paths.items()}
    titles = _titles(config.classes)
    used = {label for part in rows.values() for _, label in part}
    if titles is not None:
        known = {str(i): i for i in range(len(titles))}
        strange = sorted(used - set(known))
        if strange:
            raise UserError(
                f"{train.name} has labels that no class fits", got=strange[:5], expected=f"0 to {len(titles) - 1}"
            )
        classes = titles
    else:
        classes = tuple(sorted(used, key=lambda label: (0, int(label), label) if label.isdigit() else (1, 0, label)))
        known = {label: i for i, label in enumerate(classes)}
    if len(classes) < 2:
        raise UserError(
            f"{train.name} has a single class", got=", ".join(classes), expected="labels of at least 2 classes"
        )
    listed = {
        part: Listed(
            [listed_file(paths[part].parent, file, paths[part].name) for file, _ in lines],
            [known[label] for _, label in lines],
            [file for file, _ in lines],
        )
        for part, lines in rows.items()
    }
    return classes, listed


def _titles(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    names = tuple(line.strip() for line in _text(path.expanduser()).splitlines() if line.strip())
    if len(names) < 2 or len(set(names)) != len(names):
        raise UserError(f"{path.name} has no usable class names", expected="two or more, all different, one a line")
    return names


def read_list(path: Path) -> list[tuple[str, str]]:
    """Return (file, label) of each line of a list: `file,label` where it is a .csv, else `file label`.

    File names are relative to the list and may hold spaces. UserError names the first line that does not fit.
    """
    text = _text(path)
    if path.suffix.lower() == ".csv":
        rows = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if any(row)]
        if rows and [cell.strip().lower() for cell in rows[0][1]][1:] == ["label"]:
            rows = rows[1:]
    else:
        rows = [(number, line.rsplit(maxsplit=1)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    found: list[tuple[str, str]] = []
    for number, row in rows:
        cells = [cell.strip() for cell in row]
        if len(cells) != 2 or not all(cells):
            raise UserError(
                f"{path.name}, line {number} is not a file and its label",
                got=",".join(row),
                expected="`file,label` in a .csv, `file label` in a .txt",
            )
        found.append((cells[0], cells[1]))
    if not found:
        raise UserError(f"{path.name} lists no image", expected="a line with file and label for each")
    return found


def _text(path: Path) -> str:
    require_confined(path, path.name)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError("the list does not exist", got=str(path), remedy="Check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the list cannot be read as text", got=str(path)) from error
