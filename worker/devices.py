"""Which GPUs this machine has, asked without PyTorch so that the web process and the workers stay light."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU: what CUDA_VISIBLE_DEVICES calls it, and what people do."""

    index: str
    name: str


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
    found = {row[0]: Gpu(row[0], _shown(row)) for row in rows}
    found.update({row[1]: Gpu(row[1], _shown(row)) for row in rows})
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [found[row[0]] for row in rows]
    return [found[key] for key in (part.strip() for part in visible.split(",")) if key in found]


def _shown(row: list[str]) -> str:
    memory = f" ({int(row[3]) / 1024:.0f} GiB)" if row[3].isdigit() else ""
    return f"{row[2]}{memory}"
