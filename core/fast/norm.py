"""A layer norm whose scale and shift of a method are part of its own, in float32, answering in the trunk's dtype.

On the CPU it keeps its answer for the backward pass and not its input: half as many bytes in bf16, and none where what
follows keeps the answer anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..models.grouping_numba import cached
from ..peft.scale_shift import ScaleShift
from .multiply import computed_in
from .rows import SUMMED, as_array, by_rows, number

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false

_MOST_BIAS = {torch.float32: 16.0, torch.bfloat16: 4.0}
"""How many times as large as its weight a channel's bias may be, so that rounding of the answer hides no input."""


class Norm:
    """The kernel (see `tuned`) of a layer norm, frozen or not; under autocast it answers in `dtype`."""

    def __init__(self, dtype: torch.dtype, scale_shift: ScaleShift | None = None) -> None:
        self.dtype, self.scale_shift = dtype, scale_shift

    def __call__(self, operation: nn.LayerNorm, x: Tensor) -> Tensor:
        weight, bias, row = operation.weight, operation.bias, self.scale_shift
        if row is not None:
            weight, bias = weight * row.gamma, torch.addcmul(row.beta, bias, row.gamma)
        dtype = computed_in(self.dtype, x)
        with torch.autocast(x.device.type, enabled=False):
            if x.device.type == "cpu" and torch.is_grad_enabled():
                return _Norm.apply(x, weight, bias, operation.eps, dtype)  # type: ignore[return-value]
            return F.layer_norm(x.float(), operation.normalized_shape, weight, bias, operation.eps).to(dtype)


class _Norm(torch.autograd.Function):
    """z = w * n + b of the normed input n, which is (z - b) / w again; kept where w is too small for that."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        exact, mean, scale = torch.native_layer_norm(x.float(), weight.shape, weight, bias, eps)
        z = exact.to(dtype)
        lost = torch.nonzero(bias.abs() >= _MOST_BIAS[dtype] * weight.abs())[:, 0]
        normed = ((x[..., lost] - mean) * scale).to(dtype).flatten(0, -2)
        ctx.save_for_backward(z, scale, weight, bias, lost, normed)
        ctx.dtype = x.dtype
        return z

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        z, scale, weight, bias, lost, normed = ctx.saved_tensors
        dx, rows = torch.empty(z.shape, dtype=torch.float32), z.numel() // len(weight)
        dz, z, normed = (as_array(matrix.flatten(0, -2)) for matrix in (grad_outputs[0], z, normed))
        inverse = torch.where(weight == 0, 0.0, 1 / weight)
        channels = [one.detach().float().numpy() for one in (weight, inverse, bias)]
        into, factors, where = dx.view(rows, -1).numpy(), scale.flatten().numpy(), lost.numpy()
        sums = by_rows(
            rows,
            (2, len(weight)),
            lambda some, found: _gradients(
                dz[some], z[some], factors[some], normed[some], where, *channels, into[some], found
            ),
        )
        dweight, dbias = torch.from_numpy(sums)
        return dx.to(ctx.dtype), dweight.to(weight.dtype), dbias.to(bias.dtype), None, None


@cached
def _gradients(dz, z, scale, normed, lost, weight, inverse, bias, dx, found):
    width = dz.shape[1]
    n, g = np.empty(width, np.float32), np.empty(width, np.float32)
    part = np.empty((2, width), np.float32)
    products, totals = part[0], part[1]
    for start in range(0, len(dz), SUMMED):
        part[:] = np.float32(0)
        for r in range(start, min(start + SUMMED, len(dz))):
            a, b = dz[r], z[r]
            for c in range(width):
                n[c] = (number(b[c]) - bias[c]) * inverse[c]
            for i in range(len(lost)):
                n[lost[i]] = number(normed[r, i])
            for c in range(width):
                one = number(a[c])
                g[c] = one * weight[c]
                products[c] += one * n[c]
                totals[c] += one
            _project(g, n, scale[r], dx[r])
        for c in range(width):
            found[0, c] += products[c]
            found[1, c] += totals[c]


@cached
def _project(g, n, scale, dx):
    """Write scale * (g less its mean and its share along n); sums run in sixteen strands, a vector for LLVM."""
    width = len(g)
    one, other = np.zeros(16, np.float32), np.zeros(16, np.float32)
    whole = width // 16 * 16
    for start in range(0, whole, 16):
        x, y = g[start : start + 16], n[start : start + 16]
        for i in range(16):
            one[i] += x[i]
            other[i] += x[i] * y[i]
    for c in range(whole, width):
        one[0] += g[c]
        other[0] += g[c] * n[c]
    mean, along = one.sum() / np.float32(width), other.sum() / np.float32(width)
    for c in range(width):
        dx[c] = scale * (g[c] - mean - n[c] * along)
