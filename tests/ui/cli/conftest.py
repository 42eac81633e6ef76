"""What the tests of the command line share: a runner, class folders on disk, and options of a tiny run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pointsmith.ui.cli.main import cli

Call = Callable[..., Result]
SIZES = {"dim": 24, "depth": 2, "heads": 2, "groups": 8, "group_size": 8, "widths": "[8,16,16]"}
TINY = [
    "--backbone",
    "own",
    "--method",
    "dapt",
    *(word for key, value in SIZES.items() for word in ("--set", f"backbone.{key}={value}")),
    *("--set", "method.rank=4", "--set", "head.hidden=16", "--set", "data.preparation.points=64"),
    *("--batch-size", "8", "--device", "cpu"),
]


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


def make_shapes(folder: Path, per_class: int = 10) -> Path:
    rng = np.random.default_rng(0)
    stretch = {"ball": (1.0, 1.0, 1.0), "plate": (1.0, 1.0, 0.02), "rod": (0.05, 0.05, 1.0)}
    for name, factors in stretch.items():
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            cloud = rng.normal(size=(96, 3)) * factors
            np.save(folder / name / f"{i}.npy", cloud.astype(np.float32))
    return folder
