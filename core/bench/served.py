"""What the benchmarks of serving share: a backbone of the published size with adapters of random weights on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..adapters import describe
from ..building import Built
from ..config import RunConfig, parse_config
from ..models.tuned import Foldable
from ..serving.family import Family, Held
from ..serving.resident import Resident
from .harness import RATIOS, TIMES, Candidate, Cell, Options, Report, compare, ratios, times
from .reference import Reference

CPU = torch.device("cpu")
CLASSES = 15
SMOA: dict[str, Any] = {"kind": "adaptformer-x", "routing": "dense"}
"""The shared mixture as its algorithm is printed: all experts."""


@dataclass(frozen=True)
class Stand:
    """A family of adapters in memory, and clouds to ask them of."""

    family: Family
    adapters: list[Held]
    clouds: Tensor


def run_of(method: dict[str, Any], small: bool) -> RunConfig:
    """Return a run on Point-MAE's sizes with 128 patches of 2,048 points, random weights; or on tiny ones."""
    tiny = {"dim": 24, "depth": 2, "heads": 2, "groups": 8, "group_size": 8, "widths": [8, 16, 16]}
    backbone = {"kind": "own", "weights": "random", **(tiny if small else {"groups": 128})}
    data = {"kind": "demo", "preparation": {"points": 64 if small else 2048}}
    method = {**method, **({"rank": 4} if small and "rank" in method else {})}
    return parse_config({"backbone": backbone, "method": method, "data": data})


def stand(
    method: dict[str, Any], count: int, options: Options, *, precision: str = "float32", clouds: int = 0
) -> Stand:
    """Return `count` adapters of a method, no two of which answer alike, and as many clouds unless said otherwise."""
    run = run_of(method, options.small)
    family = Family(Resident.load(run, CPU), run, (CLASSES, 0), precision=precision, device=CPU)
    config = describe(Built(family.model, family.resident.loaded), run, tuple(f"class {i}" for i in range(CLASSES)))
    adapters: list[Held] = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        state = {name: _drawn(name, tensor, generator) for name, tensor in family.wanted.items()}
        adapters.append(family.hold(config, state))
    points = run.data.preparation.points if run.data.kind == "demo" else 0
    generator = torch.Generator().manual_seed(0)
    return Stand(family, adapters, torch.rand(clouds or count, points, 3, generator=generator) - 0.5)


def _drawn(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return small random numbers; round one where a tensor scales."""
    if not tensor.is_floating_point():
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    wide = name.startswith("head.") and tensor.dim() == 2  # else the last bias alone would decide
    drawn = (tensor.shape[-1] ** -0.5 if wide else 0.02) * torch.randn(tensor.shape, generator=generator)
    scales = name.endswith(("running_var", "gamma")) or (tensor.dim() == 1 and name.endswith("weight"))
    return 1 + drawn if scales else drawn


def predict_table(name: str, batch: int, options: Options) -> Report:
    """Return how long one batch takes from its points to its logits, for two methods and precisions."""
    table: list[list[Cell]] = []
    for label, method in (("dapt", {"kind": "dapt"}), ("mixture (dense)", SMOA)):
        for precision in ("float32", "bf16"):
            here = stand(method, 1, options, precision=precision, clouds=batch)
            chosen = here.adapters * batch
            peer = Reference(here.family.occupy(here.adapters[0])).eval()
            fair = Reference(here.family.occupy(here.adapters[0]), own_grouping=True).eval()
            folded = _folded(here)
            candidates = [
                Candidate("pointsmith", partial(_ours, here, chosen)),
                *([Candidate("pointsmith, folded", partial(_ours, folded, folded.adapters * batch))] if folded else []),
                Candidate("reference, our grouping", partial(_theirs, fair, here.clouds, precision)),
                Candidate("reference", partial(_theirs, peer, here.clouds, "float32")),
            ]
            with torch.inference_mode():
                theirs = fair(here.clouds)
                moved = float((_ours(here, chosen) - theirs).abs().max() / theirs.abs().max())
            for i, one in enumerate(timings := compare(candidates, rounds=options.rounds)):
                shown = "float32" if i == len(timings) - 1 else precision
                error = f"{moved:.0e}" if i == 0 else "–"
                throughput = 1000 * batch / one.median_ms
                table.append([label, one.name, shown, *times(one), throughput, error, *ratios(one, timings[0])])
    columns = ("method", "by", "precision", *TIMES, "clouds/s", "relative difference", *RATIOS)
    note = (
        "Processor time on one thread unless --threads says otherwise; differences from the float32 reference. A bf16 "
        "row beside a float32 reference is no fair line: `reference, our grouping` has the row's own precision."
    )
    return Report(name, f"{batch} clouds of {here.clouds.shape[1]:,} points to logits", columns, table, [note])


def _folded(here: Stand) -> Stand | None:
    """Return the same with its adapter in the backbone's layers; None where nothing of its method can be."""
    family = here.family
    if not any(isinstance(delta, Foldable) for _, delta in family.model.method.attachments()):
        return None
    own = Family(family.resident, family.run, family.sizes, precision=family.precision, device=CPU)
    if not own.fold(here.adapters[0]):
        raise RuntimeError("Folding moved the answers")
    return Stand(own, here.adapters, here.clouds)


def _ours(here: Stand, chosen: list[Held]) -> Tensor:
    return here.family.answer(chosen, here.clouds)[0]


@torch.inference_mode()
def _theirs(model: Reference, clouds: Tensor, precision: str) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return model(clouds)
