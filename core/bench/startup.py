"""What it takes to begin: processor time of whole new processes, from the interpreter's start to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial

from .harness import TIMES, Candidate, Cell, Options, Report, compare, times

BEGINNINGS = {
    # what: arguments of the interpreter
    "Python alone": ("-c", "pass"),
    "pointsmith --help": ("-m", "pointsmith.ui.cli.main", "--help"),
    "pointsmith methods": ("-m", "pointsmith.ui.cli.main", "methods"),
    "import torch": ("-c", "import torch"),
    "import the trainer": ("-c", "import pointsmith.core.training"),
    "import the page": ("-c", "import pointsmith.ui.page"),
    "import to the first label, random weights": ("-c", """
import numpy, torch
from pointsmith.core.building import build
from pointsmith.core.config import parse_config
torch.set_num_threads(1)
model = build(parse_config({"backbone": {"weights": "random"}}), 15).model.eval()
with torch.inference_mode():
    print(int(model(torch.from_numpy(numpy.random.default_rng(0).random((1, 1024, 3), numpy.float32))).argmax()))
"""),
}  # fmt: skip
SMALL = ("Python alone", "pointsmith --help")


def run(options: Options) -> Report:
    chosen = {what: words for what, words in BEGINNINGS.items() if what in SMALL or not options.small}
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        candidates = [Candidate(what, partial(_begin, words, folder)) for what, words in chosen.items()]
        timings = compare(candidates, rounds=options.rounds, clock="children")
    table: list[list[Cell]] = [[one.name, *times(one)] for one in timings]
    notes = ("One thread. The first process of each fills caches and is not counted.",)
    return Report("startup", "whole processes, processor time", ("what", *TIMES), table, notes)


def _begin(words: tuple[str, ...], folder: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=folder, env=environment)
