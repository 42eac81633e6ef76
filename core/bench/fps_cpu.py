"""Farthest point sampling on the CPU beside other implementations, and whether their indices equal ours."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..models.grouping import farthest_points
from . import peers, reference
from .harness import RATIOS, TIMES, Candidate, Cell, Options, Report, compare, ratios, times

SHAPES = ((32, 2048, 128), (32, 1024, 64))
SMALL = ((2, 256, 16),)


def run(options: Options) -> Report:
    table: list[list[Cell]] = []
    others, missing = peers.samplers()
    samplers = {"pointsmith": farthest_points, "batched torch": reference.farthest_points, **others}
    generator = torch.Generator().manual_seed(0)
    for clouds, count, groups in SMALL if options.small else SHAPES:
        points = torch.randn(clouds, count, 3, generator=generator)
        candidates = [Candidate(name, partial(sampler, points, groups)) for name, sampler in samplers.items()]
        ours = farthest_points(points, groups)
        timings = compare(candidates, rounds=options.rounds)
        for one in timings:
            label = f"{clouds} × {count:,} → {groups}"
            same = share_equal(ours, samplers[one.name](points, groups))
            table.append([label, one.name, *times(one), same, *ratios(one, timings[0])])
    columns = ("clouds × points → centres", "by", *TIMES, "equal indices, %", *RATIOS)
    return Report("fps_cpu", "farthest point sampling, processor time", columns, table, left_out(missing))


def share_equal(ours: Tensor, theirs: Tensor) -> float:
    """Return how many of the indices are the same, in per cent."""
    return 100 * float((ours == theirs).double().mean())


def left_out(missing: list[str]) -> list[str]:
    """Return the note that names peers that are not installed."""
    return [f"Not installed, left out: {', '.join(missing)}."] if missing else []
