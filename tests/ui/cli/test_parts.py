"""The command line on labelled points: train, predict with a category, evaluate, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from tests.support.part_sets import write_shapenetpart, write_tools

Call = Callable[..., Result]
SIZES = {"dim": 24, "depth": 3, "heads": 2, "groups": 8, "group_size": 8, "widths": "[8,16,16]"}
TINY = [
    *("--backbone", "own", "--method", "dapt", "--set", "method.rank=4", "--set", "head.hidden=16"),
    *(word for key, value in SIZES.items() for word in ("--set", f"backbone.{key}={value}")),
    *("--set", "data.preparation.points=64", "--batch-size", "4", "--epochs", "2", "--device", "cpu"),
]


@pytest.fixture
def adapter(call: Call, tmp_path: Path) -> Path:
    """Trained by the command line from a folder that its parts.json tells to be of labelled points."""
    write_tools(tmp_path / "tools")
    said = call("train", "--data", tmp_path / "tools", *TINY, "--out", "run")
    assert said.exit_code == 0, said.output
    assert re.search(r"\b2 \D+4 \D", said.output) and "mIoU" in said.output
    assert "ccuracy" not in said.output
    return Path("run/adapter").absolute()


def test_the_part_of_every_point(call: Call, adapter: Path, tmp_path: Path) -> None:
    cloud = tmp_path / "tools" / "hammer" / "0.txt"
    (one,) = json.loads(call("predict", adapter, cloud, "--category", "lollipop", "--json").stdout)
    assert one["category"] == "lollipop" and one["part_names"] == ["stick", "ball"]
    assert len(one["parts"]) == 96 and set(one["parts"]) <= {0, 1}
    assert np.allclose(np.sum(one["probabilities"], axis=1), 1, atol=1e-5)
    assert np.allclose(np.exp(one["logits"]).sum(axis=1), 1, atol=1e-4) and len(one["logits"][0]) == 4
    said = call("predict", adapter, cloud)
    assert "hammer" in said.stderr and "96" in said.stdout and "handle" in said.stdout
    wrong = call("predict", adapter, cloud, "--category", "spoon")
    assert wrong.exit_code != 0 and "Unknown category" in wrong.output and "lollipop" in wrong.output


def test_scores_by_name(call: Call, adapter: Path, tmp_path: Path) -> None:
    own = json.loads(call("evaluate", adapter, "--json").stdout)
    assert own["metric"] == "mIoU" and own["clouds"] == 4 and set(own["per_class"]) == {"hammer", "lollipop"}
    metrics = json.loads((adapter / "adapter_config.json").read_text())["metrics"]
    assert own["instance_miou"] == pytest.approx(metrics["test_accuracy"])
    assert "instance mIoU" in call("evaluate", adapter).stdout
    # Another set, of one of the categories, its parts in another order.
    other = tmp_path / "other"
    (other / "lollipop").mkdir(parents=True)
    (other / "parts.json").write_text('{"lollipop": ["ball", "stick"]}')
    for file in sorted((tmp_path / "tools" / "lollipop").glob("*.txt")):
        rows = np.loadtxt(file)
        np.savetxt(other / "lollipop" / file.name, np.c_[rows[:, :3], 1 - rows[:, 3]])
    whole = json.loads(call("evaluate", adapter, "--data", tmp_path / "tools", "--split", "all", "--json").stdout)
    part = json.loads(call("evaluate", adapter, "--data", other, "--split", "all", "--json").stdout)
    assert part["per_class"]["hammer"] is None
    assert part["per_class"]["lollipop"] == pytest.approx(whole["per_class"]["lollipop"], abs=0.05)


def test_data_without_parts_are_refused(call: Call, adapter: Path, tmp_path: Path) -> None:
    said = call("evaluate", adapter, "--data", "demo")
    assert said.exit_code == 2
    (tmp_path / "tools" / "parts.json").write_text('{"hammer": ["a", "b"], "lollipop": ["c", "d"]}')
    said = call("evaluate", adapter, "--data", tmp_path / "tools")
    assert said.exit_code != 0 and "hammer: a" in said.output
    said = call("predict", Path("run") / "adapter", "nowhere.txt", "--category", "hammer")
    assert said.exit_code != 0


def test_the_official_folder_is_known_by_its_files(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path / "cache"))
    root = write_shapenetpart(tmp_path / "shapenet")
    said = call("train", "--data", root, *TINY, "--epochs", "1", "--out", "run")
    assert said.exit_code == 0 and re.search(r"\b16 \D+50 \D", said.output), said.output
    assert "12137 / 1870 / 2874" in said.output
