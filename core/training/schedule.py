"""The learning rate over a run."""

from __future__ import annotations

import math

from ..config import OptimConfig


def learning_rate(config: OptimConfig, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of optimiser step `step` (counted from 0).

    `paper`: constant within an epoch and one epoch late, as the published code steps its schedule at the end of each
    epoch; the warm-up is laid over the cosine, not before it; a run of 301 epochs uses a cosine of 300 (DAPT's code).
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "paper":
        time, whole = float(max(0, step // steps_per_epoch - 1)), max(1, epochs - 1)
    else:
        time, whole = step / steps_per_epoch, epochs
    if time < config.warmup_epochs:
        return config.warmup_lr + (config.lr - config.warmup_lr) * time / config.warmup_epochs
    return config.min_lr + 0.5 * (config.lr - config.min_lr) * (1 + math.cos(math.pi * min(1.0, time / whole)))
