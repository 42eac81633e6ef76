"""What every optimiser step does alike, in fine-tuning and in pre-training."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch


def seed_step(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Seed dropout, and return the generator of order and augmentation, for one step of a run.

    Everything random in a step follows from (seed, step), so resuming needs no generator's state.
    """
    mixed = int(np.random.SeedSequence([seed, 2, step]).generate_state(1)[0])
    torch.manual_seed(mixed)
    return torch.Generator(device).manual_seed(mixed)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass in `float32` or `bf16`."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
