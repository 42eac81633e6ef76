"""The two small networks that adapters are made of: the plain bottleneck, and DAPT's with a scale per token."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["relu", "gelu"]


class Bottleneck(nn.Module):
    """up(dropout(act(down x))), D to D (Houlsby et al., ICML 2019; AdaptFormer, NeurIPS 2022). Starts at zero."""

    def __init__(
        self, dim: int, rank: int, *, activation: Activation = "relu", dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        self.down = nn.Linear(dim, rank, bias=bias)
        self.up = nn.Linear(rank, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation
        _start_at_zero(self.down, self.up)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.down(x)
        hidden = F.relu(hidden) if self.activation == "relu" else F.gelu(hidden)
        return self.up(self.dropout(hidden))


class DynamicAdapter(nn.Module):
    """A bottleneck whose answer is scaled per token, (…, D) to (…, D) (DAPT, equations 4 to 6).

    u = norm(z); s = relu(w u + b), one number per token; answer = up(dropout(gelu(down u))) * s. Starts at zero.
    """

    def __init__(self, dim: int, rank: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.scale = nn.Linear(dim, 1)
        self.down = nn.Linear(dim, rank)
        self.up = nn.Linear(rank, dim)
        self.dropout = nn.Dropout(dropout)
        _start_at_zero(self.down, self.up)
        nn.init.kaiming_uniform_(self.scale.weight, a=5**0.5)
        nn.init.zeros_(self.scale.bias)

    def forward(self, z: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return the answer (..., D) to z (..., D); `kept` is what `draw` answered, else dropout draws here."""
        u = self.norm(z)
        hidden = F.gelu(self.down(u))
        hidden = self.dropout(hidden) if kept is None else hidden * (kept / (1 - self.dropout.p)).to(hidden.dtype)
        return self.up(hidden) * F.relu(self.scale(u))

    def draw(self, z: Tensor) -> Tensor | None:
        """Return which hidden units dropout keeps, bool (..., R), on a CPU as `forward` itself would draw them."""
        rate = self.dropout.p
        if not self.dropout.training or not 0.0 < rate < 1.0:
            return None
        return torch.empty((*z.shape[:-1], self.down.out_features), dtype=torch.bool, device=z.device).bernoulli_(
            1 - rate
        )


def _start_at_zero(down: nn.Linear, up: nn.Linear) -> None:
    nn.init.kaiming_uniform_(down.weight, a=5**0.5)
    nn.init.zeros_(up.weight)
    for layer in (down, up):
        if layer.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
            nn.init.zeros_(layer.bias)
