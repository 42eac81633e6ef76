"""A layer norm whose scale and shift of a method are part of its own, in float32, answering in the trunk's dtype."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..peft.scale_shift import ScaleShift
from .multiply import computed_in


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
            return F.layer_norm(x.float(), operation.normalized_shape, weight, bias, operation.eps).to(dtype)
