"""Sums over the rows of two matrices at once: what the gradients of scale and shift, and batch statistics, are made of.

On the CPU compiled, in one sweep: torch's own way writes their product out and reads it, and one of them, again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

from ..models.grouping_numba import cached

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownLambdaType=false
# pyright: reportOperatorIssue=false

_ROWS = 128
"""Rows that are summed by themselves before they are added to the rest, so that rounding does not pile up."""

_LEAST = 2048
"""Rows that are worth a thread of their own."""


def column_sums(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over the rows of a and of a * b, both (C,) float32, for a and b (R, C) of one dtype."""
    if a.device.type != "cpu" or a.dtype not in (torch.float32, torch.bfloat16) or b.dtype != a.dtype:
        return a.sum(dim=0, dtype=torch.float32), (a * b).sum(dim=0, dtype=torch.float32)
    one, other = (_array(matrix.detach()) for matrix in (a, b))
    threads = max(1, min(torch.get_num_threads(), 4, len(one) // _LEAST))
    found = np.zeros((threads, 2, one.shape[1]), np.float32)
    bounds = [len(one) * i // threads for i in range(threads + 1)]

    def work(i: int) -> None:
        rows = slice(bounds[i], bounds[i + 1])
        _sums(one[rows], other[rows], found[i])

    if threads == 1:
        work(0)
    else:  # not numba's own threads, see `models.grouping_numba`
        with ThreadPoolExecutor(threads, thread_name_prefix="sums") as pool:
            list(pool.map(work, range(threads)))
    total, product = torch.from_numpy(found.sum(axis=0))
    return total, product


def _array(matrix: Tensor) -> Any:
    """Return a matrix as numpy sees it, bf16 as uint16."""
    matrix = matrix.contiguous()
    return (matrix.view(torch.uint16) if matrix.dtype == torch.bfloat16 else matrix).numpy()


@cached
def _sums(a, b, found):
    width = a.shape[1]
    part = np.empty((2, width), np.float32)
    totals, products = part[0], part[1]
    for start in range(0, len(a), _ROWS):
        part[:] = np.float32(0)
        end = min(start + _ROWS, len(a))
        for r in range(start, end - 1, 2):  # two rows at a time: the sums are read and written half as often
            x, y, u, v = a[r], b[r], a[r + 1], b[r + 1]
            for c in range(width):
                one, other = _number(x[c]), _number(u[c])
                totals[c] += one + other
                products[c] += one * _number(y[c]) + other * _number(v[c])
        if (end - start) % 2:
            x, y = a[end - 1], b[end - 1]
            for c in range(width):
                totals[c] += _number(x[c])
                products[c] += _number(x[c]) * _number(y[c])
        for c in range(width):
            found[0, c] += totals[c]
            found[1, c] += products[c]


def _number(x):
    """A float32 as it is, or the one whose upper half is a bf16's bits."""


@overload(_number, inline="always")
def _number_of(x):
    if x == types.float32:
        return lambda x: x
    return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
