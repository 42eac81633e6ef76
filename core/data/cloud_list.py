"""A list of meshes and clouds with their labels: a .csv with `file,label`, or `file,label,split`, in each line."""

from __future__ import annotations

import csv
from pathlib import Path

from ..errors import UserError
from .class_folders import PARTS, Layout
from .root import inside, listed_file, require_confined

_HEADER = ("label", "class", "category")


def list_in(folder: Path) -> Path | None:
    """Return the one list of files that lies in a folder; None where there is none, or more than one."""
    found = [path for path in sorted(folder.glob("*.csv")) if is_list(path)]
    return found[0] if len(found) == 1 else None


def is_list(path: Path) -> bool:
    """Return whether a .csv lists files: one of its first two lines names one that lies there, or is a header."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            rows = [row for _, row in zip(range(2), csv.reader(file))]
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    headed = bool(rows) and len(rows[0]) > 1 and rows[0][1].strip().lower() in _HEADER
    return headed or any(len(row) in (2, 3) and _beside(path, row[0]) for row in rows)


def _beside(path: Path, name: str) -> bool:
    try:
        return bool(name.strip()) and listed_file(path.parent, name.strip(), path.name).is_file()
    except (OSError, UserError):  # a line of something else may be too long for a name
        return False


def read_cloud_list(path: Path, *, confined: bool = False) -> Layout:
    """Return what a list says: part, then class, then files, sorted. Files lie relative to the list.

    The first line may be a header. A split is train, val, validation or test; without one all are for training.
    With `confined` a file must lie below the list's folder, as in an archive from elsewhere.
    Raises UserError naming the first line that does not fit.
    """
    layout: Layout = {}
    seen: set[Path] = set()
    for number, row in _rows(path):
        cells = [cell.strip() for cell in row]
        if len(cells) not in (2, 3) or not all(cells[:2]):
            raise UserError(
                f"{path.name}, line {number} is not a file and its label",
                got=",".join(row)[:200],
                expected="`file,label` or `file,label,split`",
            )
        part = PARTS.get(cells[2].lower() if len(cells) == 3 and cells[2] else "train")
        if part is None:
            expected = ", ".join(PARTS)
            raise UserError(f"{path.name}, line {number} has a split of no known name", got=cells[2], expected=expected)
        file = (inside if confined else listed_file)(path.parent, cells[0], f"{path.name}, line {number}")
        if file in seen:
            raise UserError(f"{path.name}, line {number} lists a file for the second time", got=cells[0])
        seen.add(file)
        layout.setdefault(part, {}).setdefault(cells[1], []).append(file)
    if not layout:
        raise UserError(f"{path.name} lists no file", expected="a line with file and label for each")
    return {
        part: {name: sorted(layout[part][name]) for name in sorted(layout[part])}
        for part in ("train", "validation", "test")
        if part in layout
    }


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    require_confined(path, path.name)
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except FileNotFoundError as error:
        raise UserError("the list does not exist", got=str(path), remedy="Check the path") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError("the list cannot be read as text", got=str(path)) from error
    numbered = [(number, row) for number, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]
    headed = bool(numbered) and len(numbered[0][1]) > 1 and numbered[0][1][1].strip().lower() in _HEADER
    return numbered[1:] if headed else numbered
