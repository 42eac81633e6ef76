"""A batch whose inputs all have different adapters beside one adapter for all, and what it takes to change adapters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle
from typing import Any

import torch

from ..serving.family import Held
from .harness import RATIOS, TIMES, Candidate, Cell, Options, Report, compare, ratios, times
from .served import SMOA, Stand, stand

METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("dapt", {"kind": "dapt"}),
    ("mixture (dense)", SMOA),
    ("dapt-x (top-1)", {"kind": "dapt-x"}),
    ("lora", {"kind": "lora"}),
)


def run(options: Options) -> Report:
    table: list[list[Cell]] = []
    notes: list[str] = []
    tenants = 3 if options.small else 32
    for label, method in METHODS[:1] if options.small else METHODS:
        here = stand(method, tenants, options)
        candidates = [
            Candidate("one adapter", partial(_answer, here, here.adapters[:1] * tenants)),
            Candidate(f"{tenants} adapters, stacked", partial(_answer, here, here.adapters)),
            Candidate(f"{tenants} adapters, one after another", partial(_looped, here)),
        ]
        with torch.inference_mode():
            alone = torch.cat([_answer(here, [held], i) for i, held in enumerate(here.adapters)])
            moved = float((_answer(here, here.adapters) - alone).abs().max())
        timings = compare(candidates, rounds=options.rounds)
        table += [[label, one.name, *times(one), *ratios(one, timings[0])] for one in timings]
        held = here.adapters[0]
        (swap,) = compare([Candidate("swap", partial(_swap, here, cycle(here.adapters)))], rounds=5, group=10)
        table.append([label, "changing the adapter", *times(swap), None, None])
        trunk = here.family.resident.bytes
        notes.append(
            f"{label}: stacked and single answers differ by {moved:.0e} at most. 1,000 adapters take "
            f"{1000 * held.bytes / 2**20:,.0f} MiB beside a backbone of {trunk / 2**20:.0f} MiB; as whole models "
            f"{1000 * (trunk + held.bytes) / 2**20:,.0f} MiB."
        )
    columns = ("method", "what", *TIMES, *RATIOS)
    return Report("multi_adapter", f"{tenants} clouds, each with its own adapter", columns, table, notes)


def _answer(here: Stand, chosen: list[Held], only: int | None = None) -> torch.Tensor:
    clouds = here.clouds if only is None else here.clouds[only : only + 1]
    return here.family.answer(chosen, clouds, len(chosen))[0]


def _swap(here: Stand, turns: Iterator[Held]) -> None:
    here.family.occupy(next(turns))


def _looped(here: Stand) -> None:
    for i, held in enumerate(here.adapters):
        _answer(here, [held], i)
