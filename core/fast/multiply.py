"""x Wᵀ + b by the library that is fastest on this machine, found out once and remembered.

The library is part of a run's numbers: two of them round differently. So what a machine has once chosen stays chosen,
in a file of the cache folder, and a run that resumes has the numbers of one that was never stopped.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..durable import write_synced
from ..models.weight_files import cache_dir
from ..schema import is_mapping

Library = Literal["torch", "onednn"]
"""torch: what `F.linear` takes, on x86 MKL for float32; onednn: oneDNN, on x86 often faster where it is not Intel's."""

_ROWS, _INPUTS, _OUTPUTS, _ROUNDS = 1024, 384, 1024, 5

_MARGIN = 0.95
"""torch's own is taken where it needs less than this share of oneDNN's time: nearer, the moment would decide."""


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None, library: Library) -> Tensor:
    """Return x Wᵀ + b for x (…, I) and weight (O, I) of any strides, all of one dtype; no gradient."""
    if library == "onednn" and x.dtype == torch.float32 and x.numel():  # in bf16 `F.linear` takes oneDNN itself
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def fastest_library(device: torch.device) -> Library:
    """Return what multiplies float32 fastest; on the CPU measured within 20 ms, once for a machine and its threads."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return "torch"
    path = cache_dir() / "linear.json"
    key = f"torch {torch.__version__}, {_processor()}, {torch.get_num_threads()} threads"
    known = _read(path)
    if known.get(key) not in ("torch", "onednn"):
        known[key] = _measured()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_synced(path, json.dumps(known, indent=1).encode())
        except OSError:
            return "onednn"  # a choice that cannot be remembered must not depend on the moment
    return "onednn" if known[key] == "onednn" else "torch"


def _read(path: Path) -> dict[str, str]:
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: str(value) for name, value in found.items()} if is_mapping(found) else {}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return ", ".join(facts.get(name, "") for name in ("model name", "cpu family", "model"))


def computed_in(dtype: torch.dtype, x: Tensor) -> torch.dtype:
    """Return `dtype` under autocast, else float32: a run in bf16 is scored in float32, as the plain path does."""
    return dtype if torch.is_autocast_enabled(x.device.type) else torch.float32


@torch.no_grad()
def _measured() -> Library:
    """Return the faster of both on a layer of usual size: the least processor time of a few rounds each, in turn."""
    x, weight = torch.ones(_ROWS, _INPUTS), torch.ones(_OUTPUTS, _INPUTS)
    least: dict[Library, float] = {"torch": float("inf"), "onednn": float("inf")}
    for turn in range(_ROUNDS + 1):
        for library in least:
            begun = time.process_time()
            multiply(x, weight, None, library)
            if turn:  # the first makes ready
                least[library] = min(least[library], time.process_time() - begun)
    return "torch" if least["torch"] < _MARGIN * least["onednn"] else "onednn"
