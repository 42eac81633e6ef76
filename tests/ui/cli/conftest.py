"""What the tests of the command line share: a runner, class folders on disk, and options of a tiny run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pointsmith.ui.cli.main import cli

from tests.support.cli import Call, make_shapes


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command line in an empty working folder, with no service in reach."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("POINTSMITH_DATA", str(tmp_path / "data"))

    def run(*words: object) -> Result:
        result = CliRunner().invoke(cli, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder with three classes that a tiny model tells apart: balls, rods and plates, ten clouds each."""
    return make_shapes(tmp_path / "shapes")
