"""From the start of a new process, with no compiler to be found, to the first answer of a saved adapter."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from ..adapters import describe, save_adapter
from ..building import build
from .harness import Candidate, Cell, Options, Report, compare
from .served import CLASSES, run_of

_PROGRAM = """
import sys, numpy, torch
torch.set_num_threads(int(sys.argv[2]))
from pointsmith.core.{module} import {name}
cloud = numpy.random.default_rng(0).random(({points}, 3), numpy.float32)
print({open}(sys.argv[1]).predict([cloud])[0].label)
"""
_WAYS = {
    "served": ("serving.server", "Server", "Server().open"),
    "Predictor": ("predict", "Predictor", "Predictor.load"),
}


def run(options: Options) -> Report:
    config = run_of({"kind": "dapt"}, options.small)
    points = 64 if options.small else 2048
    with tempfile.TemporaryDirectory(prefix="cold-start-") as place:
        built = build(config, CLASSES)
        folder = Path(place) / "adapter"
        save_adapter(folder, built, describe(built, config, tuple(f"class {i}" for i in range(CLASSES))))
        candidates = [Candidate("Python with torch alone", partial(_begin, "import torch", folder, options))]
        for label, (module, name, way) in list(_WAYS.items())[: 1 if options.small else 2]:
            program = _PROGRAM.format(module=module, name=name, open=way, points=points)
            candidates.append(Candidate(label, partial(_begin, program, folder, options)))
        processor = compare(candidates, rounds=options.rounds, clock="children", warmup=0 if options.small else 1)
        wall = compare(candidates, rounds=options.rounds, clock="wall", warmup=0)
    table: list[list[Cell]] = [
        [one.name, one.least_ms / 1000, one.median_ms / 1000, other.least_ms / 1000, other.median_ms / 1000]
        for one, other in zip(processor, wall, strict=True)
    ]
    columns = ("what", "least processor s", "median", "least wall s", "median")
    note = "Random weights of Point-MAE's size are drawn in that time, where a pre-trained run reads its file."
    return Report("cold_start", "a new process to its first answer, PATH empty", columns, table, [note])


def _begin(program: str, folder: Path, options: Options) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "PATH": ""}
    words = [sys.executable, "-c", program, str(folder), str(options.threads)]
    subprocess.run(words, check=True, capture_output=True, cwd=folder, env=environment)
