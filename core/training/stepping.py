"""What every optimiser step does alike, in fine-tuning and in pre-training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import Diverged


def seed_step(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Seed dropout, and return the generator of order and augmentation, for one step of a run.

    Everything random in a step follows from (seed, step), so resuming needs no generator's state.
    """
    mixed = int(np.random.SeedSequence([seed, 2, step]).generate_state(1)[0])
    torch.manual_seed(mixed)
    return torch.Generator(device).manual_seed(mixed)


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass in `float32` or `bf16`."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


class Steps:
    """Optimiser steps, and the numbers that each of them leaves: loss, what else was given, and gradient norm.

    The numbers stay on the device until they are read, so that a GPU never waits for the host in between. A step whose
    numbers are not all finite changes no parameter; it is told of when the numbers are read.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], clip: float) -> None:
        self.optimizer, self.parameters, self.clip = optimizer, list(parameters), clip
        self._taken: list[tuple[int, Tensor]] = []

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate of all groups; where it is a tensor, a graph reads it there, and it is filled."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def advance(self, *numbers: Tensor) -> Tensor:
        """Clip the gradients and step; return `numbers`, scalars, and the gradient norm as one row, float64."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        row = torch.stack([one.detach().double() for one in (*numbers, norm)])
        # Fused optimisers leave everything as it is where this is 1: it is what a gradient scaler tells them.
        self.optimizer.found_inf = (~row.isfinite().all()).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        return row

    def keep(self, step: int, row: Tensor) -> None:
        """Keep the numbers of step `step`, counted from 1, until they are read."""
        self._taken.append((step, row))

    def read(self) -> list[list[float]]:
        """Return the rows kept since the last time, in one transfer. Diverged where a number is not finite."""
        taken, self._taken = self._taken, []
        if not taken:
            return []
        rows = cast("list[list[float]]", torch.stack([row for _, row in taken]).tolist())
        for (step, _), row in zip(taken, rows):
            if not all(map(math.isfinite, row)):
                raise Diverged(
                    f"Training diverged at step {step}: loss {row[0]:g}, gradient norm {row[-1]:g}",
                    expected="finite numbers",
                    remedy="Lower optim.lr, lengthen the warm-up, or use precision float32",
                )
        return rows
