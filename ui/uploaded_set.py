"""Dropped files become a data set: moved to a folder of their own, and told apart by what they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..core.data.kinds import data_kind
from ..core.errors import UserError
from ..worker.upload_room import UploadRoom


def settled(files: list[Path], folder: Path) -> dict[str, Any]:
    """Move dropped files into the new `folder`; return the content of the data config that reads them.

    One zip, one or two .h5 files, or loose files with or without a list. UserError, and nothing is left behind, for a
    mixture of those, and where there is no room for them beside the other uploads.
    """
    UploadRoom(folder.parent).require(sum(file.stat().st_size for file in files))
    folder.mkdir(parents=True, mode=0o700)
    try:
        moved = [_move(file, folder) for file in files]
        return _content(moved, folder)
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _move(file: Path, folder: Path) -> Path:
    target = folder / file.name
    number = 2
    while target.exists():
        target = folder / f"{file.stem}-{number}{file.suffix}"
        number += 1
    shutil.move(file, target)
    return target


def _content(files: list[Path], folder: Path) -> dict[str, Any]:
    archives = [file for file in files if file.suffix.lower() == ".zip"]
    tables = [file for file in files if file.suffix.lower() in (".h5", ".hdf5")]
    if (archives and len(files) > 1) or len(tables) > 2 or (tables and len(tables) < len(files)):
        raise UserError(
            "These files do not make one data set",
            got=", ".join(file.name for file in files[:5]),
            expected="one .zip, or one or two .h5 files, or meshes, clouds or images",
        )
    if archives:
        return {"kind": data_kind(archives[0]), "path": str(archives[0])}
    if tables:
        tables.sort(key=lambda file: ("test" in file.stem.lower(), file.name))
        return {"kind": "h5", "train": str(tables[0])} | ({"test": str(tables[1])} if len(tables) > 1 else {})
    for file in files:
        if file.suffix.lower() in (".csv", ".txt") and data_kind(file) == "images":
            return {"kind": "images", "path": str(file)}
    return {"kind": data_kind(folder), "path": str(folder)}
