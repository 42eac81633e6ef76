"""How the queue grows with workers: `python -m tests.bench.workers [--runs 4] [--workers 1 2]`.

Starts the page with so many workers on a folder of its own, queues equal runs (one thread each) and waits for the last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.app_process import App
from tests.support.processes import PATIENCE

RUN = {"data.train_per_class": 12, "data.test_per_class": 4, "epochs": 4, "batch_size": 12}


def of(workers: int, runs: int) -> float:
    """Return the seconds from the first run's queueing to the last one's end."""
    with tempfile.TemporaryDirectory() as folder, App(Path(folder), ("--workers", str(workers))) as app:
        service = [sys.executable, "-m", "pointsmith.ui.cli.main", "{}", "--service", str(app.data)]
        settings = [part for name, value in RUN.items() for part in ("--set", f"{name}={value}")]
        begun = time.monotonic()
        for _ in range(runs):
            said(service, "submit", *settings)
        while True:
            states = [one["state"] for one in json.loads(said(service, "runs", "--json"))]
            if len(states) == runs and all(state == "succeeded" for state in states):
                return time.monotonic() - begun
            if {"failed", "cancelled"} & set(states):
                raise SystemExit(f"a run did not succeed: {states}")
            time.sleep(0.5)


def said(service: list[str], verb: str, *options: str) -> str:
    command = [part.format(verb) for part in service] + list(options)
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print(f"{options.runs} runs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    first = 0.0
    for workers in options.workers:
        seconds = of(workers, options.runs)
        first = first or seconds
        print(f"{workers} workers: {seconds:.1f} s, {first / seconds:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
