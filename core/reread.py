"""What was written about a run becomes that run again: its YAML, an adapter's configuration, or an adapter's card."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

from .bounded_text import read_json, read_yaml
from .config import RunConfig, amend, parse_config
from .errors import UserError
from .recipes import recipe
from .schema import is_mapping

MOST_BYTES = 1_000_000
"""No file is read beyond this; settings are a hundred times smaller."""
_MOST_BLOCKS = 5
_BLOCK = re.compile(r"^```ya?ml[ \t]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def reread(path: Path) -> RunConfig:
    """Return the run that a .yaml, .json or .md file tells of; UserError says what it is instead.

    The file may come from anybody: it is short, has no YAML aliases, and names no other file but a recipe (`like`).
    """
    text = _text(path)
    if path.suffix.lower() == ".md":
        return _of_card(text, path.name)
    return parse_config(_run_of(_plain(text, path.name), path.name), path.name)


def plain(path: Path) -> Any:
    """Return the plain data of a short YAML or JSON file, unchecked; UserError for what cannot be settings."""
    return _plain(_text(path), path.name)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path.name} is too long for settings", expected=f"at most {MOST_BYTES // 1000} kB")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is no text", expected="a YAML, JSON or Markdown file") from error
    except OSError as error:
        raise UserError(f"{path.name} cannot be read ({error.strerror})") from error


def _plain(text: str, name: str) -> Any:
    """Return the plain data of JSON, which may be longer, or YAML."""
    try:
        return read_json(text, name=name, limit=MOST_BYTES)
    except UserError:
        return read_yaml(text, name=name)


def _run_of(content: Any, name: str) -> dict[str, Any]:
    """Return a run's content from that of a run, a recipe or an adapter's configuration."""
    if not is_mapping(content):
        raise UserError(f"{name} tells of no run", expected="the YAML of a run, adapter_config.json or README.md")
    if "adapter_type" in content and is_mapping(content.get("run")):
        run: Any = content.get("merged_from") or content["run"]
        return run
    if "library_name" in content and "run" not in content:
        raise UserError(
            f"{name} is not the file that tells how an adapter was trained",
            expected="adapter_config.json or README.md from the same folder",
        )
    if "run" in content and {"methods", "seeds", "grid"} & set(content):
        raise UserError(f"{name} is the plan of a sweep", remedy="Drop it on the Sweeps tab")
    like: Any = content.get("like")
    if like is None:
        return content
    rest = {key: value for key, value in content.items() if key != "like"}
    base = recipe(str(like)).config().to_dict()
    return amend(base, rest)


def _of_card(text: str, name: str) -> RunConfig:
    """Return the run of a card: the first block of YAML in it that is one."""
    # A card has one block of YAML, or a few.
    for block in itertools.islice((found[1] for found in _BLOCK.finditer(text)), _MOST_BLOCKS):
        content = _plain(block, name)
        if is_mapping(content) and {"method", "backbone"} & set(content):
            return parse_config(_run_of(content, name), name)
    raise UserError(f"{name} tells of no run", expected="a card with the run's YAML, as Pointsmith writes it")
