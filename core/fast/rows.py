"""What compiled sweeps over a matrix's rows share: bf16 as numpy sees it, and threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportUnknownLambdaType=false, reportOperatorIssue=false, reportUnknownArgumentType=false

SUMMED = 128
"""Rows that are summed by themselves before they are added to the rest, so that rounding does not pile up."""

_LEAST = 2048
"""Rows that are worth a thread of their own."""


def by_rows(rows: int, shape: tuple[int, ...], work: Callable[[slice, Any], None]) -> Any:
    """Call `work(rows, found)` for a share of the rows in each thread; return the sum of what each found, float32.

    `found` is zeros of `shape`, the thread's own. Not numba's own threads, see `models.grouping_numba`.
    """
    threads = max(1, min(torch.get_num_threads(), 4, rows // _LEAST))
    found = np.zeros((threads, *shape), np.float32)
    shares = [slice(rows * i // threads, rows * (i + 1) // threads) for i in range(threads)]
    if threads == 1:
        work(shares[0], found[0])
    else:
        with ThreadPoolExecutor(threads, thread_name_prefix="rows") as pool:
            list(pool.map(work, shares, found))
    return found.sum(axis=0)


def as_array(matrix: Tensor) -> Any:
    """Return a matrix as numpy sees it, bf16 as uint16."""
    matrix = matrix.detach().contiguous()
    return (matrix.view(torch.uint16) if matrix.dtype == torch.bfloat16 else matrix).numpy()


def number(x):
    """A float32 as it is, or the one whose upper half is a bf16's bits; for compiled code."""


@overload(number, inline="always")
def _number_of(x):
    if x == types.float32:
        return lambda x: x
    return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
