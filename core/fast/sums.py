"""Sums over the rows of two matrices at once: what the gradients of scale and shift, and batch statistics, are made of.

On the CPU compiled, in one sweep: torch's own way writes their product out and reads it, and one of them, again.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..models.grouping_numba import cached
from .rows import SUMMED, as_array, by_rows, number

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportOperatorIssue=false


def column_sums(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over the rows of a and of a * b, both (C,) float32, for a and b (R, C) of one dtype."""
    if a.device.type != "cpu" or a.dtype not in (torch.float32, torch.bfloat16) or b.dtype != a.dtype:
        return a.sum(dim=0, dtype=torch.float32), (a * b).sum(dim=0, dtype=torch.float32)
    one, other = as_array(a), as_array(b)
    found = by_rows(len(one), (2, one.shape[1]), lambda some, sums: _sums(one[some], other[some], sums))
    total, product = torch.from_numpy(found)
    return total, product


@cached
def _sums(a, b, found):
    width = a.shape[1]
    part = np.empty((2, width), np.float32)
    totals, products = part[0], part[1]
    for start in range(0, len(a), SUMMED):
        part[:] = np.float32(0)
        end = min(start + SUMMED, len(a))
        for r in range(start, end - 1, 2):  # two rows at a time: the sums are read and written half as often
            x, y, u, v = a[r], b[r], a[r + 1], b[r + 1]
            for c in range(width):
                one, other = number(x[c]), number(u[c])
                totals[c] += one + other
                products[c] += one * number(y[c]) + other * number(v[c])
        if (end - start) % 2:
            x, y = a[end - 1], b[end - 1]
            for c in range(width):
                totals[c] += number(x[c])
                products[c] += number(x[c]) * number(y[c])
        for c in range(width):
            found[0, c] += totals[c]
            found[1, c] += products[c]
