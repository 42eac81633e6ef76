"""What a run would take, before it starts: a model of its shapes with random weights makes a few steps."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import Any

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from ..building import build
from ..config import RunConfig
from ..data.config import DemoData, FewShotData, ModelNet40Data, ScanObjectNNData
from ..data.sandbox.protocol import Limits, Progress, Sandbox
from ..fast.accelerate import accelerate
from ..schema import Config, explain
from .choice import MARGIN, DryRun, allowed_bytes, choose
from .device import pick_device, pick_precision
from .gradients import MODES, Gradients, Mode, Way, way_of
from .memory import free_bytes, taken_bytes
from .task import ClassTask, PartTask, Task
from .two_phase import obstacle

_MOST = 4096
"""The largest batch that a run may have."""
_TIMED = {"cpu": 8, "cuda": 64}
"""Inputs in the steps whose time is taken."""
_PASSED_ON = ("CUDA", "HOME", "HF_HOME", "NVIDIA", "POINTSMITH_CACHE", "XDG_")
"""How the names of the variables begin that a child needs besides those of every sandbox."""


class ModeEstimate(Config):
    """One way of making gradients. Bytes are peaks as an epoch's `peak_memory_bytes` counts them."""

    mode: Mode
    pieces: int = Field(description="in which a batch goes through the model")
    peak_bytes: int = Field(description="at the run's batch size")
    per_input_bytes: int = Field(description="that one more input in the batch takes")
    fits: bool
    largest_batch: int = Field(description="that fits, up to 4096; 0: none")
    seconds_per_step: float | None = Field(description="None where time was up before this mode's turn")


class Estimate(Config):
    """What a run would take on this machine. `total_seconds` is of its training steps alone, without reading data."""

    device: str
    precision: str
    batch_size: int
    base_bytes: int = Field(description="taken before a step: program, model, and data if their number is known")
    allowed_bytes: int = Field(description="that a step may take beyond that")
    free_bytes: int
    modes: tuple[ModeEstimate, ...]
    chosen: Mode
    chosen_pieces: int
    steps: int | None = Field(description="of the whole run, where the number of training inputs is known")
    total_seconds: float | None
    notes: tuple[str, ...] = ()
    took_seconds: float


class Job(Config):
    """What a child is asked."""

    run: RunConfig
    classes: int = Field(default=15, ge=1)
    parts: int = Field(default=0, ge=0, description="of all classes together, where points are labelled")
    inputs: int | None = Field(default=None, ge=2, description="training inputs, where their number is known")
    device: str = "auto"
    seconds: float = Field(default=60.0, gt=0, description="after which no further mode is timed")


def estimate(job: Job) -> Estimate:
    """Make dry steps and return what they tell. UserError where the run cannot be."""
    begun = time.perf_counter()
    run = job.run.model_copy(update={"backbone": job.run.backbone.model_copy(update={"weights": "random"})})
    device = pick_device(job.device)
    precision = pick_precision(run.precision, device)
    inputs = job.inputs or known_inputs(run)
    batch = min(run.batch_size, inputs or run.batch_size)
    dry = _dry_run(job, run, device, precision)
    way, why, trouble = choose(run, dry, batch)
    said = [why, trouble]
    blocked = obstacle(dry.gradients.model)
    if way.mode == "two-phase" and blocked:
        said.append(dry.gradients.take(way))
        way = dry.gradients.way
    data = (inputs or 0) * math.prod(run.example_size()) * 4
    base, allowed = taken_bytes(device) + data, allowed_bytes(run, device) - data
    modes = tuple(
        _of_mode(run, dry, (mode, way), batch, (base, allowed)) for mode in MODES if mode != "two-phase" or not blocked
    )
    times = dict(_times(dry, modes, batch, begun + job.seconds, way.mode))
    modes = tuple(one.model_copy(update={"seconds_per_step": times.get(one.mode)}) for one in modes)
    if blocked:
        said.append(f"Two phases are not exact here: {blocked}.")
    steps = None if inputs is None else run.epochs * (inputs // batch)
    each = times.get(way.mode)
    return Estimate(
        device=str(device),
        precision=precision,
        batch_size=batch,
        base_bytes=base,
        allowed_bytes=int(allowed),
        free_bytes=free_bytes(device),
        modes=modes,
        chosen=way.mode,
        chosen_pieces=way.pieces,
        steps=steps,
        total_seconds=None if steps is None or each is None else steps * each,
        notes=tuple(one for one in said if one),
        took_seconds=time.perf_counter() - begun,
    )


def known_inputs(run: RunConfig) -> int | None:
    """Return how many training inputs a run has, where its data say so without being read."""
    data = run.data
    if isinstance(data, DemoData):
        from ..data.procedural import CLASSES

        count = len(CLASSES) * data.train_per_class
    elif isinstance(data, ScanObjectNNData):
        count = 11416 if data.variant == "hardest" else 2309
    elif isinstance(data, ModelNet40Data):
        count = 9843 if data.subset == "modelnet40" else 3991
    elif isinstance(data, FewShotData):
        count = data.way * data.shot
    else:
        return None
    return count - round(count * data.validation)


def _dry_run(job: Job, run: RunConfig, device: torch.device, precision: str) -> DryRun:
    model = build(run, job.classes, job.parts).model.to(device).train()
    if run.fast:
        accelerate(model, precision, device)
    of_parts = run.data.answers == "parts"
    share, more = divmod(job.parts, job.classes)
    names = tuple(tuple(f"part {i}" for i in range(share + (c < more))) for c in range(job.classes))
    task: Task = PartTask(names) if of_parts else ClassTask(job.classes)
    size = run.example_size()[1:]

    def inputs(count: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(count)
        made = 2 * torch.rand((count, *size), generator=generator) - 1
        if of_parts:
            made = torch.cat([made, torch.zeros((*made.shape[:-1], 1))], dim=-1)
        return made.to(device), (torch.arange(count) % job.classes).to(device)

    return DryRun(Gradients(model, task, precision, device), inputs)


def _of_mode(
    run: RunConfig, dry: DryRun, modes: tuple[Mode, Way], batch: int, room: tuple[float, float]
) -> ModeEstimate:
    """Return what a mode takes; `modes` are this one and the way that was chosen, `room` is (base, allowed) bytes."""
    mode, chosen = modes
    base, allowed = room
    way = chosen if chosen.mode == mode else way_of(run, mode, batch, dry.device)
    cost = dry.cost(mode)
    needed = MARGIN * cost.of(batch, way.pieces, mode)
    piece = -(-batch // way.pieces)
    slice_bytes = cost.per_slice_input * piece
    each = cost.per_input if mode == "two-phase" else cost.per_input / way.pieces
    most = (allowed / MARGIN - cost.constant - slice_bytes) / max(each, 1.0)
    return ModeEstimate(
        mode=mode,
        pieces=way.pieces,
        peak_bytes=int(base + needed),
        per_input_bytes=int(MARGIN * each),
        fits=needed <= allowed,
        largest_batch=min(_MOST, int(most)) if most >= 2 else 0,
        seconds_per_step=None,
    )


def _times(
    dry: DryRun, modes: tuple[ModeEstimate, ...], batch: int, until: float, first: Mode
) -> Iterator[tuple[Mode, float]]:
    """Yield the seconds of a step in each mode, the chosen one first, as long as there is time."""
    for one in sorted(modes, key=lambda one: one.mode != first):
        if one.mode != first and time.perf_counter() > until:
            return
        few = min(batch, _TIMED.get(dry.device.type, _TIMED["cpu"]))
        few = min(few, one.largest_batch) if one.largest_batch else 2
        way = Way(one.mode, max(1, round(one.pieces * few / batch)))
        with dry.untouched(way):
            dry.step(few)  # makes ready: libraries choose, buffers are made
            taken: list[float] = []
            for _ in range(2):
                _wait(dry.device)
                begun = time.perf_counter()
                dry.step(few)
                _wait(dry.device)
                taken.append(time.perf_counter() - begun)
        yield one.mode, min(taken) * batch / few


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def estimate_in_child(job: Job, *, limit: float = 180.0) -> Estimate:
    """Return `estimate` of a process of its own, so that this one stays small.

    UserError as `estimate`, and where the child takes longer than `limit` seconds or ends without an answer.
    """
    # Large tensors then go back to the system at once, and what the child takes is what its tensors do.
    allocation = {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_WAIT_POLICY": "PASSIVE"}
    threads = {
        key: os.environ.get(key, str(os.cpu_count() or 1)) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    kept = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
    variables = {**kept, **threads, **allocation}
    limits = Limits(memory_bytes=0, cpu_seconds=3600, wall_seconds=limit)
    with Sandbox(f"{__name__}:answer", limits, variables=variables) as child:
        content, _ = child.ask({"job": job.model_dump(mode="json")}, name="The estimate")
    return Estimate.model_validate(content)


def answer(request: dict[str, Any], progress: Progress) -> tuple[Any, bytes]:
    """Estimate a job, in the child."""
    try:
        job = Job.model_validate(request["job"])
    except ValidationError as error:
        raise explain(error, "The job") from error
    return estimate(job).model_dump(mode="json"), b""
