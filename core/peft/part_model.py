"""A backbone with a method and a head for every point: the model that segments objects into parts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..models.part_head import PartHead
from ..models.trunk import Trunk
from .method import Method
from .tuned_model import Tuned

_AT_ONCE = 8192
"""Points that are answered together when a cloud has more than the model sees."""


class TunedForParts(Tuned):
    """Points (B, N, 3) and the number of each cloud's category (B,) in, logits (B, N, P) over all parts out."""

    head: PartHead

    def __init__(
        self,
        trunk: Trunk,
        method: Method,
        head: PartHead,
        *,
        batchnorm: Literal["paper", "frozen"] = "paper",
        initialised: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(trunk, method, head, batchnorm=batchnorm, initialised=initialised)

    def forward(self, points: Tensor, category: Tensor | None = None) -> Tensor:
        levels, centres = self.trunk.read_levels(points)
        return self.head(levels, points, centres, category)

    def features(self, *prepared: Tensor) -> tuple[Tensor, ...]:
        levels, centres = self.trunk.levels_of(*prepared)
        return (*levels, centres)

    def answer(self, features: tuple[Tensor, ...], points: Tensor, category: Tensor | None = None) -> Tensor:
        *levels, centres = features
        return self.head(levels, points, centres, category)

    @torch.inference_mode()
    def segment(self, seen: Tensor, asked: Tensor, category: Tensor) -> tuple[Tensor, Tensor]:
        """Return (logits (N, P) float32 of the points `asked` (N, 3), on the CPU; centres (G, 3)).

        `seen` (M, 3) are the points of the same cloud that the backbone sees; `category` (1,) int64.
        """
        levels, centres = self.trunk.read_levels(seen[None])
        found: list[Tensor] = []
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[None, start : start + _AT_ONCE]
            found.append(self.head(levels, some, centres, category)[0].float().cpu())
        return torch.cat(found), centres[0]
