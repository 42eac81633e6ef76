"""Attention in bf16 on the CPU as three products and a softmax: there torch's fused one is several times slower."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..models.transformer import Attention, seen_keys
from ..models.tuned import tuned


class HalfAttention:
    """The kernel (see `tuned`) of attention on the CPU for heads in bf16: under autocast."""

    def __call__(self, operation: Attention, x: Tensor, seen: Tensor | None = None) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return operation(x, seen)
        q, k, v = tuned(operation.heads, tuned(operation.qkv, x))
        k, v = k.to(q.dtype), v.to(q.dtype)
        mixed: Tensor = _Attend.apply(q, k, v, seen_keys(seen, k))  # type: ignore[assignment]
        return tuned(operation.proj, mixed.transpose(1, 2).flatten(2))


class _Attend(torch.autograd.Function):
    """softmax(q kᵀ / sqrt(d)) v for q (B, H, L, d), k and v (B, H, S, d), `seen` (B, 1, L, S) bool or None.

    Keeps the softmax and its inputs as they came, which are views of one tensor.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            flat = [part.reshape(-1, *part.shape[2:]) for part in (q, k, v)]
            scores = torch.bmm(flat[0] * q.shape[-1] ** -0.5, flat[1].transpose(1, 2))
            if seen is not None:
                scores.view(*q.shape[:3], -1).masked_fill_(~seen, float("-inf"))
            shares = scores.softmax(dim=-1)
            ctx.save_for_backward(q, k, v, shares)
            return torch.bmm(shares, flat[2]).view(q.shape)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        q, k, v, shares = ctx.saved_tensors
        flat = [part.reshape(-1, *part.shape[2:]) for part in (q, k, v, grad_outputs[0])]
        dv = torch.bmm(shares.transpose(1, 2), flat[3])
        dshares = torch.bmm(flat[3], flat[2].transpose(1, 2))
        dscores = torch.ops.aten._softmax_backward_data(dshares, shares, -1, shares.dtype)
        dscores *= q.shape[-1] ** -0.5
        dq = torch.bmm(dscores, flat[1])
        dk = torch.bmm(dscores.transpose(1, 2), flat[0])
        return dq.view(q.shape), dk.view(k.shape), dv.view(v.shape), None
