"""A scale and a shift per channel on an operation's output: SSF's row, and DAPT's TFTS."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models.patch_embed import PatchEmbed, scale_output
from ..models.vit import ImagePatches


class ScaleShift(nn.Module):
    """y to gamma * y + beta, per channel of the last axis (SSF, NeurIPS 2022, section 3.2; DAPT, section 3.2).

    Drawn round the identity as published: gamma from N(1, 0.02^2), beta from N(0, 0.02^2).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width).normal_(1.0, 0.02))
        self.beta = nn.Parameter(torch.empty(width).normal_(0.0, 0.02))

    @torch.no_grad()
    def fold(self, operation: nn.Module) -> None:
        """Make scale and shift part of a norm, a linear layer or a patch embedding."""
        if isinstance(operation, (nn.Linear, nn.LayerNorm)):
            scale_output(operation, self.gamma, self.beta)
        else:
            assert isinstance(operation, (PatchEmbed, ImagePatches)), type(operation).__name__
            operation.absorb(self.gamma, self.beta)

    def forward(self, x: Tensor | None, y: Tensor) -> Tensor:
        return torch.addcmul(self.beta, y, self.gamma)
