"""Every method from the demo backbone on one data set, the same schedule for all: test accuracy over seeds.

    python tests/bench/methods.py demo  [--seeds 3] [--out results.jsonl]
    python tests/bench/methods.py capod --folder CAPOD_FOLDER --per-class 2

All methods have the quick look's learning rate and their own defaults otherwise; nothing is tuned. The last epoch is
scored once on the test clouds. Every run is a line of the output file; a run whose line is there is not run again.
Prints a Markdown table, best first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from pointsmith.core.config import RunConfig, choices, parse_config
from pointsmith.core.events import Epoch, Finished, Plan
from pointsmith.core.training import train
from transfer import fewer


def settings(method: str, lr: float, seed: int, data: dict[str, Any], **changes: Any) -> RunConfig:
    return parse_config(
        {
            "backbone": {"kind": "demo", "groups": 32},
            "method": {"kind": method},
            "data": data,
            "head": {"dropout": 0.1},
            "augment": {"kind": "scale-shift", "scale_min": 0.8, "scale_max": 1.25, "shift": 0.1},
            "optim": {"lr": lr, "warmup_epochs": 1},
            "select": "last",
            "seed": seed,
            **changes,
        }
    )


def run(config: RunConfig) -> dict[str, Any]:
    """Return what one run gave."""
    begun = time.perf_counter()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as out:
        for event in train(config, Path(out), device="cpu"):
            if isinstance(event, Plan):
                found["trainable"] = event.trainable
            if isinstance(event, Epoch):
                found["validation"] = event.validation_accuracy
            if isinstance(event, Finished):
                found |= {"test": event.test_accuracy, "bytes": event.adapter_bytes}
    return {**found, "seconds": time.perf_counter() - begun}


class Log:
    """The runs that are done, one line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.done = {tuple(entry["key"]): entry for entry in map(json.loads, lines)}

    def get(self, key: tuple[Any, ...], config: RunConfig) -> dict[str, Any]:
        if key not in self.done:
            self.done[key] = {"key": list(key), **run(config)}
            with self.path.open("a") as file:
                file.write(json.dumps(self.done[key]) + "\n")
        return self.done[key]


def demo(method: str, lr: float, seed: int) -> RunConfig:
    data = {"kind": "demo", "train_per_class": 20, "test_per_class": 20}
    return settings(method, lr, seed, data, epochs=6, batch_size=16)


def capod(method: str, lr: float, seed: int, folder: Path) -> RunConfig:
    data = {"kind": "h5", "train": folder / "h5/train.h5", "test": folder / "h5/test.h5", "validation": 0.0}
    return settings(method, lr, seed, data, epochs=30, batch_size=15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=["demo", "capod"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--out", type=Path, default=Path("methods.jsonl"))
    options = parser.parse_args()
    log = Log(options.out)
    with tempfile.TemporaryDirectory() as made:
        folder = fewer(options.folder, options.per_class, Path(made)) if options.per_class else options.folder
        rows = []
        for method in choices("method"):
            lr, runs = options.lr, []
            for seed in range(options.seeds):
                config = demo(method, lr, seed) if options.data == "demo" else capod(method, lr, seed, folder)
                runs.append(log.get((options.data, method, lr, seed), config))
            rows.append((method, runs))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("| method | trainable | test accuracy, % | each |\n|---|---:|---:|---|")
    for method, runs in sorted(rows, key=lambda row: -statistics.mean(r["test"] for r in row[1])):
        found = [100 * r["test"] for r in runs]
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        each = ", ".join(f"{value:.1f}" for value in found)
        mean, trainable = statistics.mean(found), runs[0]["trainable"]
        print(f"| {method} | {trainable:,} | {mean:.1f} ± {spread:.1f} | {each} |")


if __name__ == "__main__":
    main()
