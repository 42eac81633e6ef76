"""A pre-norm transformer whose every amendable operation runs through `tuned`; parameter names are timm's.

Shapes: B batch, L tokens, D width, H heads. `seen` (B, 1, L, L) bool, where given, says which tokens (last axis) each
token may attend to. Operations of block i that a method may amend:
``blocks.i.norm1 | attn | attn.qkv | attn.heads | attn.proj | norm2 | mlp | mlp.fc1 | mlp.fc2`` and ``blocks.i``.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from .tuned import tuned


class DropPath(nn.Module):
    """Drop the residual branch of whole samples with probability `rate` while training (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = torch.empty((x.shape[0],) + (1,) * (x.dim() - 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (mask / keep)


class Heads(nn.Module):
    """Split (B, L, 3D) into queries, keys and values (B, H, L, D/H); no parameters, so prefixes have a place."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, length, width = qkv.shape
        q, k, v = qkv.view(b, length, 3, self.heads, width // (3 * self.heads)).permute(2, 0, 3, 1, 4)
        return q, k, v


class Attention(nn.Module):
    """Multi-head self-attention, (B, L, D) to (B, L, D), of all tokens or of those in `seen`."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.heads = Heads(heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        q, k, v = tuned(self.heads, tuned(self.qkv, x))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen_keys(seen, k))
        return tuned(self.proj, mixed.transpose(1, 2).flatten(2))


def seen_keys(seen: Tensor | None, k: Tensor) -> Tensor | None:
    """Return `seen` for all keys (B, H, S, D/H): a method's own, in front, are seen by every token."""
    if seen is None or k.shape[2] == seen.shape[3]:
        return seen
    return F.pad(seen, (k.shape[2] - seen.shape[3], 0), value=True)


class Mlp(nn.Module):
    """Two linear layers with GELU between them; `recomputed`: in training they keep only their input."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.recomputed = False
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        if self.recomputed and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(self._answer, x, use_reentrant=False))
        return self._answer(x)

    def _answer(self, x: Tensor) -> Tensor:
        return tuned(self.fc2, F.gelu(tuned(self.fc1, x)))


class Block(nn.Module):
    """x + DropPath(attn(norm1 x)), then x + DropPath(mlp(norm2 x))."""

    def __init__(
        self, dim: int, heads: int, mlp_ratio: float, drop_path: float, qkv_bias: bool, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(tuned(self.attn, tuned(self.norm1, x), seen))
        return x + self.drop_path(tuned(self.mlp, tuned(self.norm2, x)))


def make_blocks(
    dim: int,
    depth: int,
    heads: int,
    mlp_ratio: float = 4.0,
    drop_path: float = 0.0,
    qkv_bias: bool = False,
    eps: float = 1e-5,
) -> nn.ModuleList:
    """Return `depth` blocks whose drop-path rate rises linearly from 0 to `drop_path`; `eps` is of their norms."""
    rates = [drop_path * i / (depth - 1) for i in range(depth)] if depth > 1 else [drop_path]
    return nn.ModuleList(Block(dim, heads, mlp_ratio, rate, qkv_bias, eps) for rate in rates)


def initialise(module: nn.Module) -> None:
    """Set linear weights to a truncated normal of deviation 0.02, biases to 0, norms to identity (as published)."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                nn.init.zeros_(part.bias)
        elif isinstance(part, (nn.LayerNorm, nn.BatchNorm1d)):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
