"""How anything is measured: candidates in turn in one process, least and median time, ratios to the first one last."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

Clock = Literal["cpu", "wall", "children", "cuda"]
"""cpu: processor time of this process; children: of its child processes that ended; cuda: between events on the GPU."""

Cell = str | float | int | None


@dataclass(frozen=True)
class Options:
    """What every benchmark is asked for."""

    threads: int = 1
    rounds: int = 7
    small: bool = False
    """Sizes that end within seconds: they show that it runs, not how fast."""


@dataclass(frozen=True)
class Candidate:
    """One way of doing the work; `run` does all of it once."""

    name: str
    run: Callable[[], object]
    note: str = ""


@dataclass(frozen=True)
class Timing:
    """What one candidate took, in milliseconds."""

    name: str
    least_ms: float
    median_ms: float
    note: str = ""


@dataclass(frozen=True)
class Report:
    """A benchmark's table; each row has a cell for every column."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """Return the table with its title above and its notes below."""
        lines = [f"### {self.name}: {self.title}", "", _line(self.columns)]
        numeric = [all(not isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]
        lines.append(_line(["---:" if right and self.rows else "---" for right in numeric]))
        lines += [_line([_text(cell) for cell in row]) for row in self.rows]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    def json(self) -> dict[str, Any]:
        """Return the same as plain values; numbers keep their full precision."""
        return asdict(self)


def compare(
    candidates: Sequence[Candidate], *, rounds: int, clock: Clock = "cpu", warmup: int = 1, group: int = 1
) -> list[Timing]:
    """Run the candidates in turn, A B C A B C, `rounds` times after `warmup` untimed ones.

    What else the machine does then falls on all of them alike. `group` runs make one sample where a single one is below
    the clock's resolution. Collection of garbage waits until the end of a round.
    """
    taken: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
    if len(taken) < len(candidates):
        raise ValueError(f"two candidates have the same name: {[one.name for one in candidates]}")
    watch = _watch(clock)
    collecting = gc.isenabled()
    for turn in range(warmup + rounds):
        gc.collect()
        gc.disable()
        try:
            for candidate in candidates:
                milliseconds = watch(candidate.run, group)
                if turn >= warmup:
                    taken[candidate.name].append(milliseconds)
        finally:
            if collecting:
                gc.enable()
    return [Timing(one.name, min(taken[one.name]), statistics.median(taken[one.name]), one.note) for one in candidates]


def _watch(clock: Clock) -> Callable[[Callable[[], object], int], float]:
    """Return a function of (work, repetitions) that answers the milliseconds of one repetition."""
    if clock == "cuda":
        return _on_cuda
    read = {"cpu": time.process_time, "wall": time.perf_counter, "children": _children}[clock]

    def timed(work: Callable[[], object], repetitions: int) -> float:
        begun = read()
        for _ in range(repetitions):
            work()
        return 1000 * (read() - begun) / repetitions

    return timed


def _children() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def _on_cuda(work: Callable[[], object], repetitions: int) -> float:
    import torch

    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begun.record()
    for _ in range(repetitions):
        work()
    ended.record()
    torch.cuda.synchronize()
    return float(begun.elapsed_time(ended)) / repetitions


TIMES = ("least ms", "median ms")
RATIOS = ("ratio of least", "ratio of medians")


def times(timing: Timing) -> list[Cell]:
    """Return the cells of `TIMES`."""
    return [timing.least_ms, timing.median_ms]


def ratios(timing: Timing, ours: Timing) -> list[Cell]:
    """Return the cells of `RATIOS`: how many times longer than ours it took, above 1 where ours is faster."""
    return [timing.least_ms / ours.least_ms, timing.median_ms / ours.median_ms]


def rows_of(label: str, timings: Sequence[Timing]) -> list[list[Cell]]:
    """Return rows (label, candidate, times, ratios) of candidates measured together; the first is ours."""
    return [[label, one.name, *times(one), *ratios(one, timings[0])] for one in timings]


def conditions(options: Options) -> dict[str, str]:
    """Return what a number means nothing without: hardware, versions, threads, date and command."""
    told = {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: found for name in ("pointsmith", "torch", "numba", "numpy", "triton") if (found := _version(name))},
        "threads": str(options.threads),
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
        "date": date.today().isoformat(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            told["gpu"] = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return told


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.processor() or platform.machine()
    known = facts.get("flags", "").split()
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in known]
    return f"{name} ({' '.join(units)})" if units else name


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        digits = 0 if abs(cell) >= 1000 else 1 if abs(cell) >= 100 else 2 if abs(cell) >= 1 else 4
        return f"{cell:.{digits}f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
