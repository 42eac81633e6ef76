"""Where to compute and how precisely."""

from __future__ import annotations

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
    """Return `float32` or `bf16`; `auto` is bf16 on GPUs that compute in it."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
