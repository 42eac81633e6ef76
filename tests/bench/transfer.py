"""Does the demo backbone's pre-training transfer? Probe and DAPT on CAPOD, from it and from random weights.

    python tests/bench/transfer.py CAPOD_FOLDER [--epochs 40] [--seeds 3]

CAPOD_FOLDER holds `h5/train.h5` and `h5/test.h5` (120 and 60 CAD models of 15 classes; the generator never saw them).
The last epoch is scored once on the test clouds; nothing is chosen on them. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from pointsmith.core.config import parse_config
from pointsmith.core.training import train

METHODS = {"probe": {"kind": "probe"}, "dapt": {"kind": "dapt", "rank": 32, "dropout": 0.1}}


def accuracy(folder: Path, weights: str, method: str, seed: int, epochs: int) -> float:
    config = parse_config(
        {
            "backbone": {"kind": "demo", "weights": weights},
            "method": METHODS[method],
            "data": {"kind": "h5", "train": folder / "h5/train.h5", "test": folder / "h5/test.h5", "validation": 0.0},
            "augment": {"kind": "scale-shift"},
            "optim": {"lr": 2e-3, "warmup_epochs": 2},
            "epochs": epochs,
            "batch_size": 24,
            "select": "last",
            "seed": seed,
        }
    )
    with tempfile.TemporaryDirectory() as out:
        *_, finished = train(config, Path(out))
    return finished.test_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pretrained", default="pretrained", help="weights to hold against random ones")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.epochs} epochs")
    print("| method | random weights | pre-trained |\n|---|---|---|")
    for method in METHODS:
        cells = []
        for weights in ("random", options.pretrained):
            found = [
                100 * accuracy(options.folder, weights, method, seed, options.epochs) for seed in range(options.seeds)
            ]
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            each = ", ".join(f"{value:.1f}" for value in found)
            cells.append(f"{statistics.mean(found):.1f} ± {spread:.1f} ({each})")
        print(f"| {method} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
