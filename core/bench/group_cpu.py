"""Farthest points with their nearest neighbours on the CPU beside others, and whether the sets are equal."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..models import grouping
from . import peers, reference
from .fps_cpu import SHAPES, SMALL, left_out
from .harness import RATIOS, TIMES, Candidate, Cell, Options, Report, compare, ratios, times

NEIGHBOURS = 32


def ours(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
    made = grouping.group(points, groups, size)
    return made.centre_index, made.index


def run(options: Options) -> Report:
    table: list[list[Cell]] = []
    others, missing = peers.groupers()
    groupers = {"pointsmith": ours, "batched torch + cdist, topk": reference.group, **others}
    generator = torch.Generator().manual_seed(0)
    for clouds, count, groups in SMALL if options.small else SHAPES:
        points = torch.randn(clouds, count, 3, generator=generator)
        candidates = [Candidate(name, partial(by, points, groups, NEIGHBOURS)) for name, by in groupers.items()]
        expected = ours(points, groups, NEIGHBOURS)
        timings = compare(candidates, rounds=options.rounds)
        for one in timings:
            label = f"{clouds} × {count:,} → {groups} × {NEIGHBOURS}"
            same = equal_groups(expected, groupers[one.name](points, groups, NEIGHBOURS))
            table.append([label, one.name, *times(one), same, *ratios(one, timings[0])])
    columns = ("clouds × points → groups", "by", *TIMES, "equal groups, %", *RATIOS)
    title = "farthest points and their neighbours, processor time"
    return Report("group_cpu", title, columns, table, left_out(missing))


def equal_groups(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> float:
    """Return how many groups have the same centre and the same set of neighbours, in per cent."""
    same = (one[1].sort(-1).values == other[1].sort(-1).values).all(-1) & (one[0] == other[0])
    return 100 * float(same.double().mean())
