"""The repository as a Space: its card, its requirements, and the package found where it is not installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support.paths import ROOT

_FORGET = """
import sys
sys.meta_path[:] = [one for one in sys.meta_path if "editable" not in repr(one)]
"""
_ASK = """
import subprocess, sys
from importlib.util import find_spec
import app
assert find_spec("pointsmith") is None, find_spec("pointsmith")
app._find_package()
import pointsmith.ui.access
child = [sys.executable, "-c", "import pointsmith.core.errors as errors; print(errors.__file__)"]
print(subprocess.run(child, capture_output=True, text=True, check=True, cwd="/").stdout)
"""


def test_the_card_says_what_to_run_and_asks_for_a_login() -> None:
    found = re.match(r"---\n(.*?)\n---\n", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found
    front = yaml.safe_load(found[1])
    assert (front["sdk"], front["app_file"], front["hf_oauth"]) == ("gradio", "app.py", True)
    assert front["hf_oauth_scopes"] == ["contribute-repos"]
    assert len(front["short_description"]) <= 60
    assert re.fullmatch(r"6\.\d+\.\d+", front["sdk_version"])


def test_the_requirements_are_those_of_the_package() -> None:
    wanted = re.search(r"\ndependencies = \[\n(.*?)\n\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.S)
    assert wanted
    package = {line.strip().rstrip(",").strip('"') for line in wanted[1].splitlines() if line.strip().startswith('"')}
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {line.replace("gradio[oauth]", "gradio") for line in lines if not line.startswith("#")} == package


def test_the_package_is_found_where_it_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_FORGET)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _ASK], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("pointsmith/core/errors.py")
