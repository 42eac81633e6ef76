"""Does the demo backbone's pre-training transfer? Probe and DAPT on CAPOD, from it and from random weights.

    python tests/bench/transfer.py CAPOD_FOLDER [--epochs 40] [--seeds 3] [--per-class 2]

CAPOD_FOLDER holds `h5/train.h5` and `h5/test.h5` (120 and 60 CAD models of 15 classes; the generator never saw them).
The last epoch is scored once on the test clouds; nothing is chosen on them. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
from pointsmith.core.config import parse_config
from pointsmith.core.training import train

METHODS = {"probe": {"kind": "probe"}, "dapt": {"kind": "dapt", "rank": 32, "dropout": 0.1}}


def accuracy(folder: Path, weights: str, method: str, seed: int, epochs: int, batch: int = 24) -> float:
    config = parse_config(
        {
            "backbone": {"kind": "demo", "weights": weights},
            "method": METHODS[method],
            "data": {"kind": "h5", "train": folder / "h5/train.h5", "test": folder / "h5/test.h5", "validation": 0.0},
            "augment": {"kind": "scale-shift"},
            "optim": {"lr": 2e-3, "warmup_epochs": 2},
            "epochs": epochs,
            "batch_size": batch,
            "select": "last",
            "seed": seed,
        }
    )
    with tempfile.TemporaryDirectory() as out:
        *_, finished = train(config, Path(out))
    return finished.test_accuracy


def fewer(folder: Path, per_class: int, out: Path) -> Path:
    """Write the data set again with the first `per_class` training clouds of each class; the test part as it is."""
    with h5py.File(folder / "h5/train.h5") as file:
        labels = file["label"][:]
        kept = np.sort(np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in np.unique(labels)]))
        points = file["data"][:][kept]
    (out / "h5").mkdir()
    with h5py.File(out / "h5/train.h5", "w") as file:
        file["data"], file["label"] = points, labels[kept]
    for name in ("test.h5", "shape_names.txt"):
        shutil.copy(folder / "h5" / name, out / "h5" / name)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pretrained", default="pretrained", help="weights to hold against random ones")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--per-class", type=int, help="training clouds of each class (all, if left out)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if options.per_class:
            options.folder = fewer(options.folder, options.per_class, Path(made))
        compare(options)


def compare(options: argparse.Namespace) -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.epochs} epochs")
    print("| method | random weights | pre-trained |\n|---|---|---|")
    for method in METHODS:
        cells = []
        for weights in ("random", options.pretrained):
            found = [
                100 * accuracy(options.folder, weights, method, seed, options.epochs, options.batch)
                for seed in range(options.seeds)
            ]
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            each = ", ".join(f"{value:.1f}" for value in found)
            cells.append(f"{statistics.mean(found):.1f} ± {spread:.1f} ({each})")
        print(f"| {method} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
