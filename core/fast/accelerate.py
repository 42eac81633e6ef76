"""Put the fast arithmetic under a model's frozen operations, and take it off again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..models.patch_embed import PatchEmbed
from ..models.transformer import Attention
from ..models.tuned import Delta
from ..peft.scale_shift import ScaleShift
from ..peft.tuned_model import Tuned
from .attention import HalfAttention
from .linear import FrozenLinear
from .multiply import fastest_library
from .norm import Norm
from .tokenizer import FrozenEmbed


def accelerate(model: Tuned, precision: str, device: torch.device) -> None:
    """Have a model's trunk compute the same faster: `float32`, or `bf16` between residuals and norms in float32.

    What trains, and what has no faster way, stays as it is. Names, tensors and deltas are the same after; a row of
    scale and shift behind a norm or a linear layer is computed inside of it. `Tuned.release` takes all of it off.
    bf16 is computed under autocast, which the rest of the model needs; without it all is float32.
    """
    plain(model)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    trunk, library = model.trunk, fastest_library(device)
    for name, _ in trunk.shape.embeds:
        operation = trunk.get_submodule(name)
        if isinstance(operation, PatchEmbed) and not _trains(operation):
            _set(operation, FrozenEmbed(dtype, library))
    for block in trunk.shape.blocks:
        for name in block.widths():
            operation = trunk.get_submodule(name)
            if isinstance(operation, nn.LayerNorm):
                _set(operation, Norm(dtype, _take_row(operation)))
            elif isinstance(operation, nn.Linear) and not operation.weight.requires_grad:
                _set(operation, FrozenLinear(dtype, library, _take_row(operation)))
        attention = trunk.get_submodule(f"{block.name}.attn")
        if isinstance(attention, Attention) and dtype != torch.float32 and device.type == "cpu":
            _set(attention, HalfAttention())
    for name, _ in trunk.shape.norms:
        operation = trunk.get_submodule(name)
        row = _take_row(operation)
        if row is not None:
            _set(operation, Norm(torch.float32, row))


def plain(model: Tuned) -> None:
    """Put a model's own code back; nothing happens where it is in place."""
    for operation in model.trunk.modules():
        kernel = operation.__dict__.get("kernel")
        if kernel is None:
            continue
        row = getattr(kernel, "scale_shift", None)
        if row is not None:
            object.__setattr__(operation, "deltas", (row, *_deltas(operation)))
        del operation.kernel


def _take_row(operation: nn.Module) -> ScaleShift | None:
    """Take an operation's scale and shift off where that is its first delta and nothing of the operation trains."""
    first, *others = _deltas(operation) or (None,)
    if not isinstance(first, ScaleShift) or _trains(operation):
        return None
    object.__setattr__(operation, "deltas", tuple(others))
    return first


def _set(operation: nn.Module, kernel: Any) -> None:
    """A plain attribute, so the operation neither owns nor saves it."""
    object.__setattr__(operation, "kernel", kernel)


def _deltas(operation: nn.Module) -> tuple[Delta, ...]:
    return getattr(operation, "deltas", ())


def _trains(operation: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in operation.parameters())
