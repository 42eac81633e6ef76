"""Uploaded data sets in a run's configuration, named so that every machine finds its own copy.

A run that may be trained elsewhere names them relative to the data folder (`uploads/<name>/…`): its configuration, with
which checkpoints are compared, is then the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import from_json

_UPLOAD = re.compile(r"uploads/([0-9a-f]{32})(/.*)?")


def portable(config: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    """The configuration with paths below this data folder's uploads made relative to the data folder."""
    beginning = f"{data_dir}/uploads/"
    return _each(config, lambda text: text[len(f"{data_dir}/") :] if text.startswith(beginning) else text)


def here(text: str, data_dir: Path) -> dict[str, Any]:
    """A configuration (as JSON) with such paths made absolute on this machine, for whoever looks at it."""
    config = from_json(text)
    if '"uploads/' not in text:
        return config
    return _each(config, lambda one: f"{data_dir}/{one}" if _UPLOAD.fullmatch(one) else one)


def named(config: dict[str, Any], data_dir: Path) -> dict[str, Path]:
    """The uploads that a portable configuration names, with their folders on this machine."""
    found: dict[str, Path] = {}

    def note(text: str) -> str:
        upload = _UPLOAD.fullmatch(text)
        if upload and ".." not in text:
            found[upload[1]] = data_dir / "uploads" / upload[1]
        return text

    _each(config, note)
    return found


def _each(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _each(one, change) for key, one in value.items()}
    return [_each(one, change) for one in value] if isinstance(value, list) else value
