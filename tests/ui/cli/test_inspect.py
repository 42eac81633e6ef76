"""`pointsmith inspect`: problems first, the setting that mends each, an exit code for scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pointsmith.core.data.procedural import make_cloud
from pointsmith.ui.cli.main import cli


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["inspect", *map(str, words)])
    return done.exit_code, done.stdout if done.exit_code < 2 else done.output


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """Two classes of six; a training cloud is a test cloud, only larger."""
    for part, first in (("train", 0), ("test", 100)):
        for label, name in enumerate(("one", "two")):
            folder = tmp_path / "set" / part / name
            folder.mkdir(parents=True)
            for i in range(6):
                np.save(folder / f"{i}.npy", make_cloud(label, first + i, 128))
    np.save(tmp_path / "set" / "train" / "one" / "larger.npy", make_cloud(0, 100, 128) * 5)
    return tmp_path / "set"


SMALL = ("--set", "data.preparation.points=64")


def test_problems_come_first_with_their_setting(leaking: Path):
    code, said = run("--data", leaking, *SMALL)
    lines = said.splitlines()
    assert code == 0 and re.search(r"^set\b.*\b25\D+25\D+2\b", lines[0])
    assert "  - train/one/larger.npy = test/one/0.npy" in lines
    assert any(line.endswith("--set data.repair.copies=across") for line in lines)
    assert "one        7     6" in lines


def test_strict_fails_until_the_setting_is_given(leaking: Path):
    assert run("--data", leaking, *SMALL, "--strict")[0] == 1
    code, said = run("--data", leaking, *SMALL, "--strict", "--set", "data.repair.copies=across")
    assert code == 0 and re.search(r"\b1\D+13\D+train\b", said)


def test_json_is_the_report(leaking: Path):
    code, said = run("--data", leaking, *SMALL, "--json")
    content = json.loads(said)
    assert code == 0 and content["ok"] is False and "pictures" not in content
    leak = content["problems"][0]
    assert (leak["code"], leak["remedy"]["settings"]) == ("leak", {"repair.copies": "across"})
    assert len(content["fingerprint"]) == 64 and content["parts"] == {"train": 13, "test": 12}


def test_a_recipe_names_its_data():
    code, said = run("--recipe", "demo", "--set", "data.train_per_class=5", "--set", "data.test_per_class=1", *SMALL)
    assert code == 0 and re.search(r"^demo\b.*\b90\D+90\D+15\b", said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "/no/such/place"], "'/no/such/place'"),
        (["--data", "demo", "--set", "data.repair.copies=all"], "unknown key"),
        (["--data", "demo", "--set", "data.seed=-1"], "does not fit"),
        (["--recipe", "demo", "--config", "x.yaml"], "--config"),
    ],
)
def test_refusals(words: list[str], said: str):
    code, told = run(*words)
    assert code == 2 and said in told
