"""Recipes: named run configurations that ship with the package, one YAML file each."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from .config import RunConfig, read_config
from .errors import UserError

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "recipes"


@dataclass(frozen=True)
class Recipe:
    """A recipe's name, its first comment line, and its file."""

    name: str
    summary: str
    path: Path

    def config(self) -> RunConfig:
        return read_config(self.path)


def recipes() -> dict[str, Recipe]:
    """Return all recipes by name, `demo` first."""
    found: dict[str, Recipe] = {}
    for path in sorted(FOLDER.glob("*.yaml"), key=lambda p: (p.stem != "demo", p.stem)):
        summary = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        found[path.stem] = Recipe(path.stem, summary, path)
    return found


def recipe(name: str) -> Recipe:
    """Return one recipe; UserError lists what exists."""
    known = recipes()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise UserError(
            "Unknown recipe",
            got=name,
            expected=f"one of {', '.join(known)}",
            remedy=f"Did you mean {near[0]}?" if near else None,
        )
    return known[name]
