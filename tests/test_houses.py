"""Who may import whom: app, then ui, then worker, then core, never back; heavy packages only where they belong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

HOUSES = ("core", "worker", "ui")
FORBIDDEN = {"core": {"worker", "ui", "app"}, "worker": {"ui", "app"}, "ui": {"app"}}
PACKAGES = {
    "core": {"gradio", "celery", "redis", "click", "plotly"},
    "worker": {"gradio", "torch", "click", "plotly"},
    "ui": {"celery", "redis"},
}
FILES = [(house, path) for house in HOUSES for path in sorted((ROOT / house).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Return the first names that a file imports; relative ones resolved against the repository's root."""
    names: set[str] = set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            target = [*base, *(node.module or "").split(".")] if node.module else [*base, node.names[0].name]
            names.add(target[1] if target[0] == "pointsmith" and len(target) > 1 else target[0])
    return names


@pytest.mark.parametrize(("house", "path"), FILES, ids=[str(p.relative_to(ROOT)) for _, p in FILES])
def test_imports(house: str, path: Path) -> None:
    names = imported(path)
    if path == ROOT / "ui" / "cli" / "serve.py":  # the verb that starts the app
        names -= {"app"}
    assert not names & FORBIDDEN[house]
    assert not names & PACKAGES[house]


@pytest.mark.parametrize("path", [p for _, p in FILES], ids=[str(p.relative_to(ROOT)) for _, p in FILES])
def test_every_file_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
