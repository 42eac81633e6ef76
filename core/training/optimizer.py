"""AdamW with the papers' rule for weight decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .checkpoint import Saved


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Return whether weight decay applies: not to vectors, biases and tokens (Point-MAE's and DAPT's rule)."""
    return parameter.dim() > 1 and not name.endswith(".bias") and "token" not in name


def _bare(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return one of PyTorch's methods without its preparation for `torch.compile`, which imports the compiler first."""
    return getattr(method, "__wrapped__", method)


class AdamW(torch.optim.AdamW):
    """PyTorch's, which would import its compiler, a second of every start, only to be left out of what it compiles."""

    add_param_group = _bare(torch.optim.Optimizer.add_param_group)
    zero_grad = _bare(torch.optim.Optimizer.zero_grad)
    state_dict = _bare(torch.optim.Optimizer.state_dict)
    load_state_dict = _bare(torch.optim.Optimizer.load_state_dict)
    step = torch.no_grad()(_bare(torch.optim.AdamW.step))  # pyright: ignore[reportUnknownArgumentType]


def make_optimizer(model: Saved, lr: float, weight_decay: float, on_device: torch.device | None = None) -> AdamW:
    """Return AdamW over all that trains, in two groups: decayed and not.

    `on_device`: the learning rate is a tensor there, so that a CUDA graph can record the step.
    """
    named = list(model.trainable())
    groups = [
        {"params": [p for n, p in named if decays(n, p)], "weight_decay": weight_decay},
        {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
    ]
    rate: float | torch.Tensor = lr
    if on_device is not None:
        rate = torch.tensor(lr, device=on_device)
    given = [group for group in groups if group["params"]]
    return AdamW(given, lr=rate, fused=True, capturable=on_device is not None)
