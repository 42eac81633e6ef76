"""A scale and a shift per channel on an operation's output: SSF's row, and DAPT's TFTS."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models.point_transformer import PointTransformer


def block_widths(trunk: PointTransformer) -> dict[str, int]:
    """Return {operation: width of its answer} of the norms and linear layers in all blocks."""
    dim, hidden = trunk.config.dim, int(trunk.config.dim * trunk.config.mlp_ratio)
    inner = {"norm1": dim, "attn.qkv": 3 * dim, "attn.proj": dim, "norm2": dim, "mlp.fc1": hidden, "mlp.fc2": dim}
    return {f"blocks.{i}.{name}": width for i in range(trunk.config.depth) for name, width in inner.items()}


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
