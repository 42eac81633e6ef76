"""A whole training step on the CPU beside published code's, method by method, with the gradients compared."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..building import build
from ..config import choices, parse_config
from ..data.procedural import make_split
from ..fast.accelerate import accelerate
from ..peft.tuned_model import Tuned
from ..training.optimizer import make_optimizer
from ..training.stepping import computing_in
from .harness import RATIOS, TIMES, Candidate, Cell, Options, Report, compare, ratios, times
from .reference import ReferenceStep

CPU = torch.device("cpu")
METHODS: dict[str, dict[str, Any]] = {
    "dapt": {"kind": "dapt"},
    "dapt-x, dense": {"kind": "dapt-x", "routing": "dense"},
    "dapt-x, top-1": {"kind": "dapt-x", "routing": "top-1"},
    "lora": {"kind": "lora", "rank": 16, "targets": ["qkv"]},
    "idpt": {"kind": "idpt"},
    "vpt": {"kind": "vpt"},
    "probe": {"kind": "probe"},
}


def run(options: Options) -> Report:
    """Every method in `METHODS`; all of what is random in a step is off, so that gradients can be compared."""
    per_class, count = (1, 4) if options.small else (3, 32)
    clouds, labels, _ = make_split("train", per_class, 2048, 0)
    points, answers = torch.from_numpy(clouds[:count]), torch.from_numpy(labels[:count])
    table: list[list[Cell]] = []
    for name in list(METHODS)[:: 3 if options.small else 1]:
        table += of_method(name, points, answers, options)
    columns = ("method", "by", *TIMES, "gradient error", "gradient cosine", *RATIOS)
    notes = (
        "Fair: published arithmetic with our grouping. Faithful: with all that their loop does besides. Ratios to ours "
        "in float32. Gradients are compared with published float32 under a linear head; behind the published head's "
        "batch norms rounding is larger, see `tests/bench/RESULTS.md`.",
    )
    title = f"a training step of {count} clouds: grouping, forward, backward, optimiser; processor time"
    return Report("step_cpu", title, columns, table, notes)


class Step:
    """One step of ours, as the trainer takes it."""

    def __init__(self, model: Tuned, precision: str) -> None:
        self.model, self.precision = model.train(), precision
        accelerate(model, precision, CPU)
        self.optimizer = make_optimizer(model, 5e-4, 0.05)

    def backward(self, points: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with computing_in(self.precision, CPU):
            loss = F.cross_entropy(self.model(points).float(), labels)
        penalty = self.model.method.penalty()
        (loss if penalty is None else loss + penalty).backward()

    def __call__(self, points: Tensor, labels: Tensor) -> None:
        self.backward(points, labels)
        torch.nn.utils.clip_grad_norm_([parameter for _, parameter in self.model.trainable()], 10.0)
        self.optimizer.step()


def of_method(name: str, points: Tensor, labels: Tensor, options: Options) -> list[list[Cell]]:
    """Return the rows of one method."""
    timed: dict[str, Any] = {
        "pointsmith, float32": Step(_model(name, options, {}), "float32"),
        "pointsmith, bf16": Step(_model(name, options, {}), "bf16"),
        "published, fair, float32": ReferenceStep(_model(name, options, {}), own_grouping=True),
        "published, fair, bf16 autocast": _Autocast(ReferenceStep(_model(name, options, {}), own_grouping=True)),
        "published, faithful, float32": ReferenceStep(_model(name, options, {}), faithful=True),
    }
    candidates = [Candidate(by, partial(step, points, labels)) for by, step in timed.items()]
    timings = compare(candidates, rounds=options.rounds)
    told = _likeness(name, points, labels, options)
    return [
        [name, one.name, *times(one), *told.get(one.name, (None, None)), *ratios(one, timings[0])] for one in timings
    ]


class _Autocast:
    def __init__(self, step: ReferenceStep) -> None:
        self.step = step

    def __call__(self, points: Tensor, labels: Tensor) -> None:
        with computing_in("bf16", CPU):
            self.step(points, labels)

    def backward(self, points: Tensor, labels: Tensor) -> None:
        with computing_in("bf16", CPU):
            self.step.backward(points, labels)


def _likeness(name: str, points: Tensor, labels: Tensor, options: Options) -> dict[str, tuple[str, float]]:
    """Return (relative error, cosine) of the gradients against published float32."""
    head = {"kind": "linear"}
    exact = ReferenceStep(_model(name, options, head), own_grouping=True)
    autocast = ReferenceStep(_model(name, options, head), own_grouping=True)
    ours = {precision: Step(_model(name, options, head), precision) for precision in ("float32", "bf16")}
    ways: dict[str, tuple[Any, Tuned]] = {
        "published, fair, float32": (exact, exact.reference.model),
        "published, fair, bf16 autocast": (_Autocast(autocast), autocast.reference.model),
        **{f"pointsmith, {precision}": (step, step.model) for precision, step in ours.items()},
    }
    rows: dict[str, Tensor] = {}
    for by, (step, model) in ways.items():
        step.backward(points, labels)
        rows[by] = torch.cat([g.double().reshape(-1) for _, one in model.trainable() if (g := one.grad) is not None])
    wanted = rows.pop("published, fair, float32")
    return {
        by: (f"{_size(row - wanted) / _size(wanted):.1e}", float(F.cosine_similarity(row, wanted, dim=0)))
        for by, row in rows.items()
    }


def _size(x: Tensor) -> float:
    return float(x.square().sum()) ** 0.5


def _model(name: str, options: Options, head: dict[str, Any]) -> Tuned:
    """Return a fresh model of Point-MAE's size with random weights, the same each time, away from the start."""
    method = METHODS[name]
    fields = choices("method")[method["kind"]].model_fields
    method = {**method, **({"dropout": 0.0} if "dropout" in fields else {})}
    size = {"groups": 32, "depth": 2} if options.small else {"groups": 128}
    backbone = {"kind": "point-mae", "weights": "random", "drop_path": 0.0, **size}
    model = build(parse_config({"backbone": backbone, "method": method, "head": {"dropout": 0.0, **head}}), 15).model
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for part in model.trunk.modules():  # as torch makes them: tokens that differ from each other
            if isinstance(part, torch.nn.Linear):
                part.reset_parameters()
        for _, parameter in model.trainable():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model
