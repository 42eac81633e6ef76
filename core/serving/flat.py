"""An adapter as one row of numbers: taking it in is one copy, and a table of rows is a bank of stacked weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_ALIGNED = 16
"""Numbers that a tensor's start is a multiple of: 64 bytes, a line of the processor's cache."""


@dataclass(frozen=True)
class Slot:
    """Where one tensor of an adapter lies in its row."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        return self.start + torch.Size(self.shape).numel()


class Layout:
    """The order of an adapter's tensors in its row; counters, which no answer depends on, are left out."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.slots: list[Slot] = []
        self.width = 0
        for name, tensor in state.items():
            if tensor.is_floating_point():
                self.slots.append(Slot(name, tuple(tensor.shape), self.width))
                self.width += -(-tensor.numel() // _ALIGNED) * _ALIGNED

    def pack(self, state: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """Return the row (P,) float32 of an adapter's tensors."""
        row = torch.zeros(self.width, device=device)
        for slot in self.slots:
            row[slot.start : slot.stop] = state[slot.name].flatten()
        return row

    def views(self, rows: Tensor) -> Iterator[tuple[Slot, Tensor]]:
        """Yield (slot, its tensors (n, *shape)) of rows (n, P); they share memory with the rows."""
        for slot in self.slots:
            yield slot, rows[:, slot.start : slot.stop].view(len(rows), *slot.shape)
