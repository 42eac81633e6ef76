"""The folder that a foreign data set may read from: whatever name a file gives is resolved here, and nowhere else.

Uploads and unpacked archives come from strangers. What is read of them stays below their folder, through lists, links,
and references of one file to another. Other folders are the operator's own, who may link and list as they like.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PureWindowsPath

from ..errors import UserError
from ..printable import shortened

UPLOADS = "uploads"
UNPACKED = "pointsmith-zip-"
"""How the name of a temporary folder begins into which an archive is unpacked."""
_UPLOAD = re.compile(r"[0-9a-f]{32}")
_LONGEST = 4096


def confinement(path: Path) -> Path | None:
    """Return the upload's or the unpacked archive's folder that a path lies in; None for places of the operator."""
    for folder in (path, *path.parents):
        upload = folder.parent.name == UPLOADS and _UPLOAD.fullmatch(folder.name)
        if upload or folder.name.startswith(UNPACKED):
            return folder
    return None


def require_confined(path: Path, name: str) -> None:
    """Refuse to open a file of a stranger's that is, by links or by its spelling, one of somewhere else. UserError.

    `name` is what the error calls it. Whether the other file exists is not told.
    """
    folder = confinement(path)
    if folder is not None and not _below(folder, path):
        raise UserError(f"{shortened(name)} lies outside of its data set", remedy="Put the file itself into the folder")


def listed_file(base: Path, name: str, source: str) -> Path:
    """Return the file that the file `source` calls `name`, relative to `base`.

    Where `base` is a stranger's, UserError for every name that leads out of the data set: absolute, upwards, through a
    link, with a drive, a scheme or a NUL. Elsewhere a name may be anything that the operator's own system takes.
    """
    if "\0" in name or len(name) > _LONGEST:
        raise _outside(name, source)
    return base / name if confinement(base) is None else inside(base, name, source)


def inside(base: Path, name: str, source: str) -> Path:
    """Return the file that `source` calls `name`, spelled as one below `base`, whoever's it is.

    UserError for any other name.     Links of the operator's own may lead elsewhere, those of strangers may not.
    """
    windows = PureWindowsPath(name)
    spelled = not (
        "\0" in name
        or len(name) > _LONGEST
        or name.startswith(("/", "~", "file:"))
        or "://" in name
        or windows.drive
        or windows.root
        or ".." in windows.parts
    )
    folder = confinement(base)
    if not spelled or (folder is not None and not _below(folder, base / name)):
        raise _outside(name, source)
    return base / name


def visible(entry: Path) -> bool:
    """Whether an entry of a folder is looked at: not hidden, and no link where the folder is a stranger's."""
    hidden = entry.name.startswith((".", "__MACOSX"))
    return not hidden and not (confinement(entry) is not None and entry.is_symlink())


def _below(folder: Path, path: Path) -> bool:
    try:
        real, root = os.path.realpath(path), os.path.realpath(folder)
    except (OSError, ValueError):
        return False
    return real == root or real.startswith(root + os.sep)


def _outside(name: str, source: str) -> UserError:
    return UserError(
        f"{source} names a file outside of its data set",
        got=name,
        expected="the path of a file below the folder of the list",
    )
