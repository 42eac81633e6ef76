"""A scale and a shift per channel on an operation's output: SSF's row, and DAPT's TFTS."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ScaleShift(nn.Module):
    """y to gamma * y + beta, per channel of the last axis (SSF, NeurIPS 2022, section 3.2; DAPT, section 3.2).

    Drawn round the identity as published: gamma from N(1, 0.02^2), beta from N(0, 0.02^2).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width).normal_(1.0, 0.02))
        self.beta = nn.Parameter(torch.empty(width).normal_(0.0, 0.02))

    def forward(self, x: Tensor | None, y: Tensor) -> Tensor:
        return torch.addcmul(self.beta, y, self.gamma)
