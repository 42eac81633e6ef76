"""`pointsmith vtab` on tasks in the published layout, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.cli import Call

SIZES = {"dim": 24, "depth": 2, "heads": 2, "image_size": 16, "patch_size": 8, "weights": "random"}
OPTIONS = [
    *("--backbone", "vit-b16", "--method", "adaptformer-x", "--data", "vtab", "--device", "cpu"),
    *(word for key, value in SIZES.items() for word in ("--set", f"backbone.{key}={value}")),
    *("--set", "data.path=vtab-1k", "--set", "data.preparation.size=16", "--set", "method.rank=4"),
    *("--set", "select=last", "--epochs", "1", "--batch-size", "8"),
]


def write_task(folder: Path, classes: int) -> None:
    """Write a task in NOAH's layout: one image for each class and list, its grey telling the class."""
    (folder / "images").mkdir(parents=True)
    for part in ("train800val200", "test"):
        lines = []
        for label in range(classes):
            for number in range(3):
                name = f"images/{part}-{label}-{number}.png"
                pixels = np.full((16, 16, 3), 255 * label // classes, np.uint8)
                Image.fromarray(pixels).save(folder / name)
                lines.append(f"{name} {label}")
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")


def test_tasks_run_one_after_another_and_finished_ones_are_kept(call: Call) -> None:
    write_task(Path("vtab-1k/kitti"), 4)
    write_task(Path("vtab-1k/patch_camelyon"), 2)
    result = call("vtab", *OPTIONS, "--tasks", "kitti,patch_camelyon", "--out", "series", "--json")
    report = json.loads(result.stdout)
    assert [task["name"] for task in report["tasks"]] == ["patch_camelyon", "kitti"]  # the order of the groups
    assert report["groups"] == {} and report["mean"] is None
    assert all((Path("series") / task / "adapter").is_dir() for task in ("kitti", "patch_camelyon"))
    written = Path("series/kitti/result.json").stat().st_mtime_ns
    again = call("vtab", "--out", "series", "--resume", "--device", "cpu", "--tasks", "kitti,patch_camelyon")
    assert "kitti (2 of 2) is finished" in again.output
    assert Path("series/kitti/result.json").stat().st_mtime_ns == written
    saved = json.loads(Path("series/report.json").read_text())
    assert saved["tasks"] == report["tasks"]


def test_what_is_no_task_is_refused(call: Call) -> None:
    result = call("vtab", *OPTIONS, "--tasks", "kity")
    assert result.exit_code == 2 and "Did you mean kitti?" in result.stderr
    result = call("vtab", "--recipe", "demo", "--tasks", "kitti")
    assert result.exit_code == 2 and "not VTAB-1k" in result.stderr
