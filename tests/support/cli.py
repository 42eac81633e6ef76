"""Helpers of the command-line tests: options of a tiny run, class folders, commands in child processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from click.testing import Result

from tests.support.processes import Child

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


def make_shapes(folder: Path, per_class: int = 10) -> Path:
    rng = np.random.default_rng(0)
    stretch = {"ball": (1.0, 1.0, 1.0), "plate": (1.0, 1.0, 0.02), "rod": (0.05, 0.05, 1.0)}
    for name, factors in stretch.items():
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            cloud = rng.normal(size=(96, 3)) * factors
            np.save(folder / name / f"{i}.npy", cloud.astype(np.float32))
    return folder


def assert_refused(result: Result, *said: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    for part in said:
        assert part in result.stderr, result.stderr
    assert result.stdout == "" or "Run: " in result.stdout


def start(words: list[object]) -> Child:
    return Child(
        [sys.executable, "-m", "pointsmith.ui.cli.main", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def interrupted(words: Sequence[object], out: Path, first: str) -> tuple[str, str]:
    """Return what a command said that got Ctrl-C as soon as its folder had this file; once more if it was too quick."""
    for _ in range(3):
        shutil.rmtree(out, ignore_errors=True)
        process = start([*words, "--out", out])
        deadline = time.monotonic() + 60
        while not (out / first).is_file() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.finish()
        if process.returncode != 0:
            break
    assert process.returncode == 130 and "Traceback" not in stderr, stderr
    return stdout, stderr
