"""Where this operating system keeps a user's files: a variable of ours comes first, then the system's own custom."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_folder(variable: str, *, mac: str, xdg: str, home: str) -> Path:
    """Return what `variable` names; else `pointsmith` in ~/Library/`mac` on macOS, in $`xdg` or ~/`home` elsewhere."""
    chosen = os.environ.get(variable)
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / mac / "pointsmith"
    base = os.environ.get(xdg)
    return (Path(base) if base else Path.home() / home) / "pointsmith"
