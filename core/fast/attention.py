"""Attention in bf16 on the CPU as plain products and a softmax: there torch's fused one is several times slower.

A few clouds at a time, so that their scores stay in the cache; the softmax is made again for the backward pass, which
keeps nothing but queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..models.transformer import Attention, Heads, seen_keys
from ..models.tuned import tuned

_SCORES = 2**19
"""Scores of one piece at most: 1 MB in bf16."""


class HalfAttention:
    """The kernel (see `tuned`) of attention on the CPU for heads in bf16: under autocast."""

    def __call__(self, operation: Attention, x: Tensor, seen: Tensor | None = None) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return operation(x, seen)
        qkv: Tensor = tuned(operation.qkv, x)
        if getattr(operation.heads, "deltas", ()):
            q, k, v = tuned(operation.heads, qkv)
            return tuned(operation.proj, _Attend.apply(seen_keys(seen, k), None, q, k.to(q.dtype), v.to(q.dtype)))
        return tuned(operation.proj, _Attend.apply(seen, operation.heads, qkv))


class _Attend(torch.autograd.Function):
    """softmax(q kᵀ / sqrt(d)) v as (B, L, H * d), for q (B, H, L, d) and k and v (B, H, S, d).

    In place of the three, one tensor that `heads_of` splits into them. `seen` (B, 1, L, S) bool or None.
    """

    @staticmethod
    def forward(ctx: Any, seen: Tensor | None, heads_of: Heads | None, *parts: Tensor) -> Tensor:
        ctx.heads_of = heads_of
        ctx.save_for_backward(seen, *parts)
        q, k, v = heads_of(parts[0]) if heads_of else parts
        clouds, heads, tokens, width = q.shape
        mixed = q.new_empty(clouds, tokens, heads, width)
        with torch.autocast(q.device.type, enabled=False):
            for some in _pieces(q, k):
                q_, k_, v_ = (_flat(part[some]) for part in (q, k, v))
                shares = _shares(q_, k_, heads, None if seen is None else seen[some])
                mixed[some] = torch.bmm(shares, v_).view(-1, heads, tokens, width).transpose(1, 2)
        return mixed.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        seen, *parts = ctx.saved_tensors
        grads = [torch.empty_like(part) for part in parts]
        (q, k, v), (dq, dk, dv) = (ctx.heads_of(one[0]) if ctx.heads_of else one for one in (parts, grads))
        clouds, heads, tokens, width = q.shape
        dmixed = grad_outputs[0].view(clouds, tokens, heads, width).transpose(1, 2)
        for some in _pieces(q, k):
            q_, k_, v_, dmixed_ = (_flat(part[some]) for part in (q, k, v, dmixed))
            shares = _shares(q_, k_, heads, None if seen is None else seen[some])
            dshares = torch.bmm(dmixed_, v_.transpose(1, 2))
            dv[some] = torch.bmm(shares.transpose(1, 2), dmixed_).view(-1, *v.shape[1:])
            dscores = torch.ops.aten._softmax_backward_data(dshares, shares, -1, shares.dtype)
            dscores *= width**-0.5
            dq[some] = torch.bmm(dscores, k_).view(-1, *q.shape[1:])
            dk[some] = torch.bmm(dscores.transpose(1, 2), q_).view(-1, *k.shape[1:])
        return None, None, *grads


def _pieces(q: Tensor, k: Tensor) -> Iterator[slice]:
    clouds, heads, tokens, _ = q.shape
    size = max(1, _SCORES // max(1, heads * tokens * k.shape[2]))
    return (slice(start, start + size) for start in range(0, clouds, size))


def _flat(part: Tensor) -> Tensor:
    return part.reshape(-1, *part.shape[2:])


def _shares(q: Tensor, k: Tensor, heads: int, seen: Tensor | None) -> Tensor:
    """Return each token's shares of the keys (B * H, L, S)."""
    scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
    if seen is not None:
        scores.view(-1, heads, *scores.shape[1:]).masked_fill_(~seen, float("-inf"))
    return scores.softmax(dim=-1)
