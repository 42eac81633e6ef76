"""Modules without numbers, for their names and shapes, or for tensors that are put in their place."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def shapes_only() -> Generator[None]:
    """Inside, new tensors have a shape and no content: they take no memory, and modules are made in milliseconds."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Leave out the filling of new tensors: there is nothing to fill, and the first that asks imports for a second."""

    fillings = frozenset(
        {"normal_", "uniform_", "kaiming_uniform_", "fill_", "zero_", "erfinv_", "mul_", "add_", "clamp_"}
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in self.fillings:
            filled = args[0] if args else kwargs["tensor"]
            if filled.is_meta:
                return filled
        return func(*args, **(kwargs or {}))
