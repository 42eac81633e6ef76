"""Every package that the source imports is declared; a Space asks for the Python whose packages it pins."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pointsmith.core.hub import space

ROOT = Path(__file__).resolve().parents[1]
INSTALLED_AS = {"pil": "pillow", "yaml": "pyyaml"}
OPTIONAL = {"laspy", "mcp", "triton"}
"""Imported only where an extra, or PyTorch for CUDA, brought them."""


def declared() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"\ndependencies = \[\n(.*?)\n\]", text, re.DOTALL)
    assert block
    return {normal(name) for name in re.findall(r'^\s*"([A-Za-z0-9_.-]+)', block[1], re.MULTILINE)}


def normal(name: str) -> str:
    return INSTALLED_AS.get(name.lower(), re.sub(r"[-_.]+", "-", name.lower()))


def imported(path: Path) -> Iterator[str]:
    """The top-level names of what a file imports, also by `import_module` with a literal."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value.split(".")[0]


def test_every_import_is_declared() -> None:
    sources = [ROOT / "app.py", *(path for house in ("core", "worker", "ui") for path in (ROOT / house).rglob("*.py"))]
    names = {name for path in sources for name in imported(path)} - set(sys.stdlib_module_names) - {"pointsmith", ""}
    assert {"torch", "fastapi", "pyarrow"} <= names
    assert {name for name in names if normal(name) not in declared()} - OPTIONAL == set()


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_a_space_runs_the_python_whose_versions_it_pins(minor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "sys", SimpleNamespace(version_info=SimpleNamespace(major=3, minor=minor)))
    assert space.space_python("cpu") == f"3.{minor}"
    assert f"numpy=={space.version('numpy')}" in space.requirements("cpu")
    # ZeroGPU has no choice of Pythons: pinned exactly only where it is the same one.
    assert space.space_python("zero") == "3.12"
    assert f"numpy{'==' if minor == 12 else '<='}{space.version('numpy')}" in space.requirements("zero")
