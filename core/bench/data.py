"""What reaches the model in a training step: 32 clouds drawn from the resident set and changed, beside a DataLoader.

Processor time of this process where all work happens in it, and wall time with workers, which are processes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ..data.augment import AugmentConfig, augment, permute_points
from ..data.clouds import Clouds
from . import reference
from .harness import RATIOS, TIMES, Candidate, Cell, Clock, Options, Report, Timing, compare, rows_of

NOTE = "The loaders shuffle clouds; ours also draws the point that sampling starts from. Workers are kept alive."


def run(options: Options) -> Report:
    count, size, batch = (64, 256, 8) if options.small else (1024, 2048, 32)
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(count, size, 3, generator=generator)
    labels = torch.zeros(count, dtype=torch.int64)
    clouds = Clouds(points.numpy(), labels.numpy(), ("",) * count)
    feed = clouds.feed(torch.device("cpu"))
    order = list(torch.randperm(count, generator=generator).numpy().reshape(-1, batch))

    def ours(kind: str) -> None:
        config = AugmentConfig.model_validate({"kind": kind})
        for inputs in feed.batches(order):
            augment(permute_points(inputs, size, generator, own=True), config, generator, own=True)

    def loaded(workers: int) -> Candidate:
        name = f"DataLoader, {workers} workers, and a loop over clouds"
        return Candidate(name, partial(_epoch, _loader(points, labels, batch, workers)))

    candidates = [Candidate(f"pointsmith, {kind}", partial(ours, kind)) for kind in ("scale-shift", "rotate")]
    table: list[list[Cell]] = []
    by_clock: tuple[tuple[Clock, tuple[int, ...]], ...] = (("cpu", (0,)), ("wall", () if options.small else (0, 2, 8)))
    for clock, workers in by_clock:
        measured = [*candidates, *map(loaded, workers)]
        timings = [
            Timing(one.name, one.least_ms / len(order), one.median_ms / len(order))
            for one in compare(measured, rounds=options.rounds, clock=clock)
        ]
        table += rows_of(f"{batch} × {size:,}, {clock} time", timings)
    columns = ("clouds × points", "by", *TIMES, *RATIOS)
    return Report("data", f"one batch of {batch} drawn and augmented", columns, table, (NOTE,))


def _loader(points: Tensor, labels: Tensor, batch: int, workers: int) -> Callable[[], Iterator[Any]]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            TensorDataset(points, labels),
            batch_size=batch,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            persistent_workers=workers > 0,
            generator=torch.Generator().manual_seed(0),
            worker_init_fn=_one_thread,
        )
    return partial(iter, loader)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def _epoch(load: Callable[[], Iterator[Any]]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        for inputs, _ in load():
            reference.scale_and_shift(inputs)
