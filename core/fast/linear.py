"""A frozen linear layer that stores no input, and with it the scale and shift that a method puts behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..peft.scale_shift import ScaleShift
from .multiply import Library, computed_in, multiply
from .sums import column_sums

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

_SAFE = 0.1
"""Least |gamma| that an output may be divided by to find what it was before scale and shift."""


class FrozenLinear:
    """The kernel (see `tuned`) of a linear layer whose weight does not train; its bias may.

    Computes in `dtype` under autocast, and then keeps a copy of the weight in it.
    """

    def __init__(self, dtype: torch.dtype, library: Library, scale_shift: ScaleShift | None = None) -> None:
        self.dtype, self.scale_shift = dtype, scale_shift
        self.library: Library = library
        self._copy: tuple[Any, Tensor] | None = None

    def __call__(self, operation: nn.Linear, x: Tensor) -> Tensor:
        row = self.scale_shift
        if row is None:
            weight = self.prepared(operation.weight, computed_in(self.dtype, x))
            return _Linear.apply(x, weight, operation.bias, self.library)  # type: ignore[return-value]
        return _ScaledLinear.apply(x, operation.weight, operation.bias, row.gamma, row.beta, self)  # type: ignore[return-value]

    def prepared(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the weight in `dtype`: the copy of before unless the weight has been filled anew since."""
        if weight.dtype == dtype:
            return weight.detach()
        key = (weight.data_ptr(), weight.device, None if weight.is_inference() else weight._version)
        if self._copy is None or self._copy[0] != key:
            self._copy = (key, weight.detach().to(dtype))
        return self._copy[1]


class _Linear(torch.autograd.Function):
    """x Wᵀ + b; the backward pass needs W alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, library: Library) -> Tensor:
        ctx.weight, ctx.library, ctx.dtype = weight, library, x.dtype
        return multiply(x.to(weight.dtype), weight, None if bias is None else bias.to(weight.dtype), library)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (dy,) = grad_outputs
        dx = multiply(dy, ctx.weight.t(), None, ctx.library).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        bias = dy.flatten(0, -2).sum(dim=0, dtype=torch.float32) if ctx.needs_input_grad[2] else None
        return dx, None, bias, None


class _ScaledLinear(torch.autograd.Function):
    """z = gamma * y + beta of y = x Wᵀ + b, as one product with gamma * W.

    The gradient of gamma is the sum of dz * y. What follows keeps z in most places, so z is kept and the sum made of
    sums over z: (sum of dz * z - beta * sum of dz) / gamma. Where a gamma is too small for that, and on GPUs, where
    looking at it would stop the stream, y is kept.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, gamma: Tensor, beta: Tensor, kernel: FrozenLinear
    ) -> Tensor:
        ctx.weight, ctx.kernel, ctx.dtype = weight.detach(), kernel, x.dtype
        dtype, library = computed_in(kernel.dtype, x), kernel.library
        x = x.to(dtype)
        ctx.from_output = not x.is_cuda and bool(gamma.abs().min() >= _SAFE)
        if ctx.from_output:
            shift = beta if bias is None else torch.addcmul(beta, bias, gamma)
            kept = z = multiply(x, (weight * gamma[:, None]).to(dtype), shift.to(dtype), library)
        else:
            kept = multiply(x, kernel.prepared(weight, dtype), None if bias is None else bias.to(dtype), library)
            z = torch.addcmul(beta.to(dtype), kept, gamma.to(dtype))
        ctx.save_for_backward(kept, gamma, beta)
        return z

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (dz,) = grad_outputs
        kept, gamma, beta = ctx.saved_tensors
        dx = None
        if ctx.needs_input_grad[0]:
            scaled = (ctx.weight * gamma[:, None]).to(dz.dtype)
            dx = multiply(dz, scaled.t(), None, ctx.kernel.library).to(ctx.dtype)
        total, product = column_sums(dz.flatten(0, -2), kept.flatten(0, -2))
        dgamma = (product - beta * total) / gamma if ctx.from_output else product
        return dx, None, None, dgamma, total, None
