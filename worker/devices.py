"""Which GPUs this machine has, asked without PyTorch so that the web process and the workers stay light."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU: what CUDA_VISIBLE_DEVICES calls it, and what people do."""

    index: str
    name: str
    memory_gb: float | None = None


def gpus() -> list[Gpu]:
    """The GPUs that this process may use, in CUDA's order; [] where there is no NVIDIA driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if answer.returncode != 0:
        return []
    rows = [[part.strip() for part in line.split(",")] for line in answer.stdout.splitlines() if line.count(",") >= 3]
    found = {row[at]: Gpu(row[at], row[2], _gigabytes(row[3])) for row in rows for at in (0, 1)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [found[row[0]] for row in rows]
    return [found[key] for key in (part.strip() for part in visible.split(",")) if key in found]


def machine_memory_gb() -> float:
    """The machine's main memory, in GiB."""
    return psutil.virtual_memory().total / 2**30


def _gigabytes(mebibytes: str) -> float | None:
    return int(mebibytes) / 1024 if mebibytes.isdigit() else None
