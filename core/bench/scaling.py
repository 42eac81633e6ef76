"""How cost grows with points, groups, batch and threads: grouping, and the demo backbone's whole forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from ..models import grouping
from ..models.backbones import DemoBackboneConfig
from ..models.trunk import Trunk
from . import reference
from .harness import Candidate, Cell, Options, Report, compare

SIZE = 32
"""Points of a group."""
USUAL = (2048, 64, 8)
"""Points, groups, batch: what stays while one of them changes."""


def cases(small: bool) -> Iterator[tuple[str, int, int, int]]:
    """Yield (what changes, points, groups, batch)."""
    points, groups, batch = (256, 8, 2) if small else USUAL
    for count in (128, 256) if small else (1024, 2048, 4096, 8192, 16384):
        yield "points", count, groups, batch
    for count in (8, 16) if small else (32, 64, 128, 256, 512):
        yield "groups", points, count, batch
    for count in (1, 2) if small else (1, 8, 32, 64):
        yield "batch", points, groups, count


def run(options: Options) -> Report:
    table: list[list[Cell]] = []
    generator = torch.Generator().manual_seed(0)
    for what, count, groups, batch in cases(options.small):
        points = torch.randn(batch, count, 3, generator=generator)
        found = compare(
            [
                Candidate("ours", partial(grouping.group, points, groups, SIZE)),
                Candidate("torch", partial(reference.group, points, groups, SIZE)),
                Candidate("forward", partial(_forward, _trunk(groups), points)),
            ],
            rounds=options.rounds,
        )
        ours, torch_pair, forward = (one.least_ms for one in found)
        table.append([what, count, groups, batch, ours, torch_pair, forward, forward / batch, torch_pair / ours])
    for threads in (1,) if options.small else (1, 2):
        table.append(_on_threads(threads, options, generator))
    columns = (
        *("what changes", "points", "groups", "clouds", "grouping ms", "grouping in torch ms", "forward ms"),
        *("forward ms a cloud", "torch / ours"),
    )
    notes = ("Least processor time; the last rows, by number of threads, are wall time.",)
    return Report("scaling", "grouping and forward pass by size", columns, table, notes)


def _on_threads(threads: int, options: Options, generator: torch.Generator) -> list[Cell]:
    count, groups, batch = (256, 8, 2) if options.small else (2048, 128, 32)
    points = torch.randn(batch, count, 3, generator=generator)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = compare(
            [
                Candidate("ours", partial(grouping.group, points, groups, SIZE)),
                Candidate("torch", partial(reference.group, points, groups, SIZE)),
                Candidate("forward", partial(_forward, _trunk(groups), points)),
            ],
            rounds=options.rounds,
            clock="wall",
        )
    finally:
        torch.set_num_threads(before)
    ours, torch_pair, forward = (one.least_ms for one in found)
    label = f"threads: {threads}"
    return [label, count, groups, batch, ours, torch_pair, forward, forward / batch, torch_pair / ours]


def _trunk(groups: int) -> Trunk:
    return DemoBackboneConfig(weights="random", groups=groups, group_size=SIZE).build("once").eval()


@torch.inference_mode()
def _forward(trunk: Trunk, points: Tensor) -> Tensor:
    return trunk(points)
