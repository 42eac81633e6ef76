"""A computation that keeps its inputs for the gradients, and whose insides are made again when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def made_again(
    answer: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], weights: Sequence[nn.Parameter]
) -> tuple[Tensor, ...]:
    """Return `answer(*inputs)`; what lies between its inputs and its answers is not kept.

    `weights` are the parameters that `answer` uses, and it may draw nothing at random. For that little,
    `torch.utils.checkpoint` would import PyTorch's compiler, a second of every start.
    """
    return _MadeAgain.apply(answer, len(inputs), *inputs, *weights)  # type: ignore[no-any-return]


class _MadeAgain(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, answer: Callable[..., tuple[Tensor, ...]], inputs: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.answer, ctx.inputs = answer, inputs
        kind = tensors[0].device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        ctx.as_now = partial(torch.autocast, kind, dtype, enabled=dtype is not None)
        ctx.save_for_backward(*tensors)
        return answer(*tensors[:inputs])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        needed: tuple[bool, ...] = ctx.needs_input_grad[2:]
        tensors: tuple[Tensor, ...] = ctx.saved_tensors
        inputs = [one.detach().requires_grad_(need) for one, need in zip(tensors[: ctx.inputs], needed[: ctx.inputs])]
        with torch.enable_grad(), ctx.as_now():
            answers = ctx.answer(*inputs)
        all_of_them = (*inputs, *tensors[ctx.inputs :])
        wanted = [one for one, need in zip(all_of_them, needed) if need]
        found = iter(torch.autograd.grad(answers, wanted, gradients))
        return None, None, *(next(found) if need else None for need in needed)
