"""How much memory one more cloud in the batch takes: peaks of fresh processes, ours in each mode beside published code.

Run as a module with a job as JSON for its argument, it makes one training step and prints its peak in bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from ..building import build
from ..config import parse_config
from ..errors import UserError
from ..fast.accelerate import accelerate
from ..training.gradients import Gradients, Way
from ..training.memory import GIB, peak_bytes, restart_peak, taken_bytes
from ..training.task import ClassTask
from .harness import Cell, Options, Report
from .reference import Reference

BATCHES = (16, 48)
SMALL = (4, 8)
LARGE = 512
SLICE = 4
_MB = 1e6
_LIMIT = 900.0
METHODS: dict[str, dict[str, object]] = {
    # Dropout inside adapters draws the same for all; the published mixture is dense.
    "full": {"kind": "full"},
    "dapt": {"kind": "dapt"},
    "smoa": {"kind": "adaptformer-x", "routing": "dense", "prompts": "none", "tune_norm2": False},
}


@dataclass(frozen=True)
class Job:
    """One step of one process: `mode` is `reference` or a way of ours."""

    method: str
    mode: str
    precision: str
    batch: int
    small: bool = False


@dataclass(frozen=True)
class Line:
    """Peaks (bytes beyond the process before the step) of one way at two batch sizes."""

    job: Job
    batches: tuple[int, int]
    peaks: tuple[int, int]

    @property
    def slope(self) -> float:
        """Bytes for each cloud."""
        return (self.peaks[1] - self.peaks[0]) / (self.batches[1] - self.batches[0])

    def at(self, batch: int) -> float:
        """Return the peak on the straight line through both."""
        return self.peaks[0] + self.slope * (batch - self.batches[0])

    @property
    def name(self) -> str:
        who = "published code's way" if self.job.mode == "reference" else f"pointsmith {self.job.mode}"
        return f"{who}, {self.job.precision}"


def run(options: Options) -> Report:
    batches = SMALL if options.small else BATCHES
    lines = [measured(job, batches, options.threads) for job in jobs(options.small)]
    whole = next(line for line in lines if line.job.method == "full")
    table: list[list[Cell]] = []
    for line in lines:
        theirs = next(one for one in lines if one.job.method == line.job.method and one.job.mode == "reference")
        less = 100 * (1 - line.at(LARGE) / whole.at(LARGE))
        table.append(
            [line.job.method, line.name, line.slope / _MB, line.at(LARGE) / GIB, less, theirs.slope / line.slope]
        )
    small, large = batches
    columns = ("method", "by", "MB each", f"GiB at {LARGE}", "less than full, %", "ratio")
    notes = (
        f"Peak resident size of fresh processes beyond what they had before the step, at batches of {small} and "
        f"{large}; {LARGE} follows on the straight line. `ratio`: the published way's MB each over this one's, same "
        "method.",
    )
    return Report("mem_slope", "memory of a training step, Point-MAE, 128 groups, 2,048 points", columns, table, notes)


def jobs(small: bool) -> Iterator[Job]:
    """Yield each way of each method, the published one first; their batch is still open."""
    for method in ("full", "smoa") if small else METHODS:
        ways = [("reference", "float32")]
        if method != "full":
            modes = ("two-phase",) if small else ("fast", "recompute-mlp", "recompute", "two-phase")
            ways += [(mode, precision) for mode in modes for precision in ("float32", "bf16")[: 1 if small else 2]]
        for mode, precision in ways:
            yield Job(method, mode, precision, 0, small)


def measured(job: Job, batches: tuple[int, int], threads: int) -> Line:
    """Return the line of one way through two batches."""
    small, large = (_peak(replace(job, batch=batch), threads) for batch in batches)
    return Line(job, batches, (small, large))


def _peak(job: Job, threads: int) -> int:
    """Return the peak of a step in a process of its own, whose freed memory goes back to the system at once."""
    settings = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-m", __name__, json.dumps(asdict(job))]
    environment = os.environ | settings | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise UserError(f"A step of {job.method}, {job.mode}, {job.batch} clouds failed", got=last)
    return int(done.stdout)


def _step(job: Job) -> int:
    """Make one step and return how far the process grew."""
    groups, points = (16, 256) if job.small else (128, 2048)
    sizes = {"dim": 48, "depth": 2, "heads": 2} if job.small else {}
    content = {
        "backbone": {"kind": "point-mae", "weights": "random", "groups": groups, **sizes},
        "method": METHODS[job.method],
        "data": {"kind": "demo", "preparation": {"points": points}},
    }
    model = build(parse_config(content), 15).model.train()
    cpu = torch.device("cpu")
    clouds = torch.randn(job.batch, points, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(job.batch) % 15
    if job.mode == "reference":
        peer = Reference(model).train()
        del model
        return _grown(lambda some: _published(peer, clouds[:some], labels[:some]), job.batch)
    accelerate(model, job.precision, cpu)
    gradients = Gradients(model, ClassTask(15), job.precision, cpu)
    gradients.take(Way.parse(f"{job.mode} in {-(-job.batch // SLICE)}" if job.mode == "two-phase" else job.mode))
    return _grown(lambda some: gradients.of(clouds[:some], labels[:some]), job.batch)


def _published(peer: Reference, clouds: torch.Tensor, labels: torch.Tensor) -> None:
    loss = F.cross_entropy(peer(clouds), labels)
    (loss if peer.penalty is None else loss + peer.penalty).backward()


def _grown(step: Callable[[int], object], batch: int) -> int:
    """Return how far the process grew in a step on a batch, after a small one that made everything ready."""
    cpu = torch.device("cpu")
    step(2)
    restart_peak(cpu)
    before = taken_bytes(cpu)
    step(batch)
    return peak_bytes(cpu) - before


def plot(lines: list[Line], path: Path, batches: tuple[int, ...] = (32, 64, 128, 256, 512)) -> None:
    """Draw the memory of a step over batch sizes as SVG, both axes logarithmic."""
    width, height, left, bottom = 760, 460, 60, 40
    low, high = 0.03, 64.0

    def at(batch: float, gib: float) -> tuple[float, float]:
        across = (torch.tensor(batch / batches[0]).log() / torch.tensor(batches[-1] / batches[0]).log()).item()
        up = (torch.tensor(max(gib, low) / low).log() / torch.tensor(high / low).log()).item()
        return left + across * (width - left - 260), height - bottom - up * (height - bottom - 20)

    colours = ("#8c2d04", "#d94801", "#6a51a3", "#9e9ac8", "#08519c", "#3182bd", "#006d2c", "#31a354", "#636363")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for batch in batches:
        x, y = at(batch, low)
        parts.append(f'<text x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle">{batch}</text>')
    for gib in (0.0625, 0.25, 1, 4, 16, 64):
        (x, y), (end, _) = at(batches[0], gib), at(batches[-1], gib)
        parts.append(f'<line x1="{x:.0f}" y1="{y:.0f}" x2="{end:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{gib:g}</text>')
    ends: list[float] = []
    for i, line in enumerate(sorted(lines, key=lambda one: -one.at(batches[-1]))):
        places = [at(batch, line.at(batch) / GIB) for batch in batches]
        colour = colours[i % len(colours)]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = places[-1]
        y = max([y, *(end + 13 for end in ends[-1:])])
        ends.append(y)
        label = f"{line.job.method}: {line.name}".replace("published code's way", "published way")
        parts.append(f'<text x="{x + 6:.0f}" y="{y + 4:.0f}" fill="{colour}">{label}</text>')
    parts.append(
        f'<text x="{left}" y="14">GiB of a step over batch size (straight lines through two measurements)</text>'
    )
    path.write_text("".join([*parts, "</svg>"]), encoding="utf-8")


if __name__ == "__main__":
    print(_step(Job(**json.loads(sys.argv[1]))))
