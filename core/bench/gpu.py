"""What is measured on a GPU, by CUDA events: point operations, training steps, memory, prediction, many adapters.

Nothing of this has been run on a GPU by us; without one the benchmarks say that they need it. Fair lines have our
grouping and the row's precision, with TF32 products allowed on both sides; faithful ones all that published loops do.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..adapters import describe
from ..building import Built, build
from ..errors import UserError
from ..fast.accelerate import accelerate
from ..models import grouping
from ..serving.family import Family
from ..serving.resident import Resident
from ..training.gradients import Gradients, Mode, Way, way_of
from ..training.graph import GraphedStep
from ..training.memory import GIB, most_taken
from ..training.optimizer import make_optimizer
from ..training.stepping import Steps, computing_in
from ..training.task import ClassTask
from . import reference
from .harness import RATIOS, TIMES, Candidate, Cell, Clock, Options, Report, compare, ratios, times
from .reference import Reference, ReferenceStep
from .served import SMOA, run_of

CLASSES = 15
METHODS: dict[str, dict[str, Any]] = {"dapt": {"kind": "dapt"}, "mixture (dense)": {**SMOA, "prompts": "none"}}
_MODES: tuple[tuple[Mode, str, float | None], ...] = (
    ("fast", "float32", None),
    ("fast", "bf16", 7.7),
    ("recompute", "bf16", 2.2),
    ("two-phase", "bf16", 0.6),
)
COLUMNS = ("what", "by", *TIMES, "target ms", *RATIOS)


@dataclass(frozen=True)
class Place:
    """Where it is measured, and by which clock."""

    device: torch.device
    clock: Clock


def on_gpu() -> Place:
    """Return this machine's GPU; UserError where there is none."""
    if not torch.cuda.is_available():
        raise UserError("This benchmark needs a GPU, and PyTorch finds none on this machine")
    return Place(torch.device("cuda"), "cuda")


def fps(options: Options) -> Report:
    """Farthest points alone."""
    return _points("gpu_fps", options, neighbours=False, targets=(0.12, 0.35))


def group(options: Options) -> Report:
    """Farthest points and their neighbours."""
    return _points("gpu_group", options, neighbours=True, targets=(0.25, 0.9))


def _points(name: str, options: Options, *, neighbours: bool, targets: tuple[float, float]) -> Report:
    place = on_gpu()
    count, groups, size = (64, 8, 8) if options.small else (2048, 128, 32)
    table: list[list[Cell]] = []
    notes: list[str] = []
    for clouds, target in zip(_batches(options), targets):
        points = _clouds(clouds, count, place)
        if neighbours:
            ours, theirs = partial(grouping.group, points, groups, size), partial(reference.group, points, groups, size)
            same = _same_sets(ours().index, theirs()[1])
        else:
            ours = partial(grouping.farthest_points, points, groups)
            theirs = partial(reference.farthest_points, points, groups)
            same = float((ours() == theirs()).all(dim=-1).float().mean())
        what = f"{clouds} × {count:,} → {groups}" + (f", {size} each" if neighbours else "")
        candidates = [Candidate("pointsmith", ours), Candidate("published way, torch", theirs)]
        table += _rows(what, candidates, options, place, target)
        notes.append(f"{what}: {100 * same:.2f} % of the {'groups' if neighbours else 'clouds'} the same.")
    return Report(name, "point operations on the GPU", COLUMNS, table, notes)


def step32(options: Options) -> Report:
    """A training step of 32 clouds."""
    return _step("gpu_step32", _batches(options)[0], 2.5, options)


def step512(options: Options) -> Report:
    """A training step of 512 clouds."""
    return _step("gpu_step512", _batches(options)[1], 24.0, options)


def _step(name: str, batch: int, target: float, options: Options) -> Report:
    place = on_gpu()
    table: list[list[Cell]] = []
    for method in list(METHODS)[: 1 if options.small else None]:
        points = _clouds(batch, _points_of(method, options), place)
        labels = torch.arange(batch, device=place.device) % CLASSES
        fair = _published(method, options, place, own_grouping=True)
        half = _published(method, options, place, own_grouping=True)
        faithful = _published(method, options, place, faithful=True)
        steps: dict[str, Any] = {"pointsmith, bf16": _Step(method, options, place, "bf16")}
        if place.device.type == "cuda":
            steps = {"pointsmith, bf16, graph": _Step(method, options, place, "bf16", graph=True), **steps}
            steps["pointsmith, float32, graph"] = _Step(method, options, place, "float32", graph=True)
        steps["pointsmith, float32"] = _Step(method, options, place, "float32")
        steps |= {"published, fair, bf16 autocast": partial(_autocast, half), "published, fair, float32": fair}
        steps["published, faithful, float32"] = faithful
        candidates = [Candidate(by, partial(step, points, labels)) for by, step in steps.items()]
        with _tf32():
            table += _rows(f"{method}, {batch} clouds", candidates, options, place, target)
    notes = ("Ratios to the first row. A float32 row is fair beside float32 rows only, a bf16 row beside bf16 rows.",)
    return Report(name, "a training step from points to new parameters", COLUMNS, table, notes)


def mem512(options: Options) -> Report:
    """Memory of a step of 512 clouds in each mode."""
    place = on_gpu()
    batch = _batches(options)[1]
    table: list[list[Cell]] = []
    for method in list(METHODS)[: 1 if options.small else None]:
        points = _clouds(batch, _points_of(method, options), place)
        labels = torch.arange(batch, device=place.device) % CLASSES
        peer = _published(method, options, place)
        peer.backward(points[:2], labels[:2])
        theirs = most_taken(partial(peer.backward, points, labels), place.device)
        table.append([method, "published way, float32", theirs / GIB, None, 1.0])
        del peer
        for mode, precision, target in _MODES:
            ours = _Step(method, options, place, precision)
            ours.gradients.take(way_of(run_of(METHODS[method], options.small), mode, batch, place.device))
            ours.gradients.of(points[:2], labels[:2])
            taken = most_taken(partial(ours.gradients.of, points, labels), place.device)
            way = ours.gradients.way
            table.append([method, f"pointsmith, {way}, {precision}", taken / GIB, target, theirs / taken])
            del ours
    columns = ("method", "by", "GiB", "target GiB", "times less")
    return Report("gpu_mem512", f"memory of the gradients of {batch} clouds, beside the model", columns, table)


def predict1(options: Options) -> Report:
    """One cloud, and a batch, from points to logits."""
    place = on_gpu()
    table: list[list[Cell]] = []
    for batch, target in zip((1, _batches(options)[1]), (0.4, 10.0)):
        for method in list(METHODS)[: 1 if options.small else None]:
            points = _clouds(batch, _points_of(method, options), place)
            ours = {precision: _model(method, options, place).eval() for precision in ("bf16", "float32")}
            for precision, model in ours.items():
                accelerate(model, precision, place.device)
            fair = Reference(_model(method, options, place), own_grouping=True).eval()
            faithful = Reference(_model(method, options, place)).eval()
            candidates = [
                *(Candidate(f"pointsmith, {one}", partial(_answer, ours[one], points, one)) for one in ours),
                Candidate("published, fair, bf16 autocast", partial(_answer, fair, points, "bf16")),
                Candidate("published, fair, float32", partial(_answer, fair, points, "float32")),
                Candidate("published, own grouping, float32", partial(_answer, faithful, points, "float32")),
            ]
            with _tf32():
                table += _rows(f"{method}, {batch} clouds", candidates, options, place, target)
    return Report("gpu_predict1", "clouds to logits", COLUMNS, table)


def multi(options: Options) -> Report:
    """A batch whose inputs have an adapter each, beside one adapter for all."""
    place = on_gpu()
    tenants = 3 if options.small else 32
    run = run_of(METHODS["dapt"], options.small)
    resident = Resident.load(run, place.device)
    family = Family(resident, run, (CLASSES, 0), precision="bf16", device=place.device)
    config = describe(Built(family.model, resident.loaded), run, tuple(f"class {i}" for i in range(CLASSES)))
    held = [family.hold(config, _moved(family.wanted, number)) for number in range(tenants)]
    points = _clouds(tenants, _points_of("dapt", options), place)

    def each() -> None:
        for i, one in enumerate(held):
            family.answer([one], points[i : i + 1], 1)

    candidates = [
        Candidate("one adapter", lambda: family.answer(held[:1] * tenants, points, tenants)),
        Candidate(f"{tenants} adapters, stacked", lambda: family.answer(held, points, tenants)),
        Candidate(f"{tenants} adapters, one after another", each),
    ]
    table = _rows(f"dapt, {tenants} clouds", candidates, options, place, None)
    return Report("gpu_multi", "many adapters in a batch; target: 1.03 times one adapter's time", COLUMNS, table)


class _Step:
    """One step of ours, as the trainer takes it, with or without its graph."""

    def __init__(self, method: str, options: Options, place: Place, precision: str, *, graph: bool = False) -> None:
        model = _model(method, options, place).train()
        accelerate(model, precision, place.device)
        self.gradients = Gradients(model, ClassTask(CLASSES), precision, place.device)
        self.gradients.take(Way("fast"))
        optimizer = make_optimizer(model, 5e-4, 0.05, place.device if graph else None)
        self.steps = Steps(optimizer, [parameter for _, parameter in model.trainable()], 10.0)
        self.learn = GraphedStep(self._learn, model, optimizer) if graph else self._learn

    def __call__(self, points: Tensor, labels: Tensor) -> None:
        self.learn(points, labels)

    def _learn(self, points: Tensor, labels: Tensor) -> Tensor:
        return self.steps.advance(*self.gradients.of(points, labels))


def _published(method: str, options: Options, place: Place, **how: bool) -> ReferenceStep:
    return ReferenceStep(_model(method, options, place), **how)


def _autocast(step: ReferenceStep, points: Tensor, labels: Tensor) -> None:
    with computing_in("bf16", points.device):
        step(points, labels)


def _model(method: str, options: Options, place: Place) -> Any:
    return build(run_of(METHODS[method], options.small), CLASSES).model.to(place.device)


@torch.inference_mode()
def _answer(model: torch.nn.Module, points: Tensor, precision: str) -> Tensor:
    with computing_in(precision, points.device):
        return model(points)


def _moved(wanted: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return an adapter of these shapes, made of numbers from a half to one and a half; its answers do not matter."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(one.shape, generator=generator).add_(0.5).to(one.dtype) for name, one in wanted.items()}


def _points_of(method: str, options: Options) -> int:
    return run_of(METHODS[method], options.small).example_size()[1]


def _batches(options: Options) -> tuple[int, int]:
    return (4, 8) if options.small else (32, 512)


def _clouds(count: int, points: int, place: Place) -> Tensor:
    return (2 * torch.rand(count, points, 3, generator=torch.Generator().manual_seed(0)) - 1).to(place.device)


def _same_sets(ours: Tensor, theirs: Tensor) -> float:
    """Return the share of groups (B, G, K) with the same members."""
    return float((ours.sort(dim=-1).values == theirs.sort(dim=-1).values).all(dim=-1).float().mean())


def _rows(
    what: str, candidates: list[Candidate], options: Options, place: Place, target: float | None
) -> list[list[Cell]]:
    """Return the rows of candidates that are measured together; the first is ours, and has the target."""
    timings = compare(candidates, rounds=options.rounds, clock=place.clock, warmup=2)
    return [
        [what, one.name, *times(one), target if i == 0 else None, *ratios(one, timings[0])]
        for i, one in enumerate(timings)
    ]


@contextmanager
def _tf32() -> Generator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
