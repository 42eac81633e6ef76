"""Where to compute and how precisely."""

from __future__ import annotations

import platform

import torch

from ..errors import UserError


def pick_device(wanted: str = "auto") -> torch.device:
    """Return the device: `auto` takes CUDA where there is one, else the CPU. UserError when it is not there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UserError("Unknown device", got=wanted, expected="auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError("This machine has no such GPU", got=wanted, expected=f"one of {torch.cuda.device_count()} GPUs")
    return device


def pick_precision(wanted: str, device: torch.device) -> str:
    """Return `float32` or `bf16`; `auto` is bf16 on GPUs that compute in it.

    A processor without units for bf16 is slower in it than in float32, and less exact: there it is float32.
    """
    if wanted != "auto":
        return "float32" if precision_note(wanted, device) else wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"


def precision_note(wanted: str, device: torch.device) -> str:
    """Return what to tell of a precision that is not what was wanted; empty where it is."""
    if wanted != "bf16" or device.type != "cpu" or computes_bf16():
        return ""
    return "This processor has no units for bf16 and would be slower in it, so it computes in float32"


def computes_bf16() -> bool:
    """Return whether this machine's processor multiplies in bf16 itself."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
