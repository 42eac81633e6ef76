"""Where everything that must survive a restart lives: one data folder, outside the clone by default."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import UserError
from ..core.places import user_folder


def default_data_dir() -> Path:
    """`$POINTSMITH_DATA`, else the place where this operating system keeps a user's application data."""
    return user_folder("POINTSMITH_DATA", mac="Application Support", xdg="XDG_DATA_HOME", home=".local/share")


def prepare_data_dir(path: Path) -> Path:
    """Make the data folder and its rooms (`redis`, `runs`, `uploads`, `exports`, `logs`), private to the user.

    Raises UserError when the folder cannot be made or written.
    """
    path = path.expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for room in ("redis", "runs", "uploads", "exports", "logs"):
            (path / room).mkdir(exist_ok=True, mode=0o700)
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        raise UserError(
            f"The data folder cannot be used ({error.strerror})",
            got=str(path),
            expected="a folder that this user may write",
            remedy="Choose another one with --data DIR or POINTSMITH_DATA",
        ) from error
    if not writable:
        raise UserError(
            "The data folder is not writable",
            got=str(path),
            remedy="Choose another one with --data DIR or POINTSMITH_DATA",
        )
    return path
