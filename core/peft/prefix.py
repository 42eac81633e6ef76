"""Prefix tuning: learned keys and values in front of every attention (ACL 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..models.trunk import TrunkShape
from ..models.tuned import Delta
from .method import Method, PlainMethodConfig


class PrefixConfig(PlainMethodConfig):
    """Learned keys and values that every token attends to, per block."""

    title: ClassVar[str] = "Prefix tuning"
    source: ClassVar[str] = "Prefix-tuning (ACL 2021), section 4"
    kind: Literal["prefix"] = "prefix"
    length: int = Field(default=50, ge=1, le=1000, description="keys and values per block")

    def build(self, shape: TrunkShape) -> Method:
        return Prefix(self, shape)


class PrefixRow(nn.Module):
    """(q, k, v) to (q, [k0; k], [v0; v]); q, k, v are (B, H, L, D/H)."""

    def __init__(self, length: int, dim: int, heads: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.empty(heads, length, dim // heads))
        self.values = nn.Parameter(torch.empty(heads, length, dim // heads))
        for tensor in (self.keys, self.values):
            nn.init.trunc_normal_(tensor, std=0.02)

    def forward(self, x: Tensor, y: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = y
        keys, values = (tensor.to(q.dtype).expand(len(q), -1, -1, -1) for tensor in (self.keys, self.values))
        return q, torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)


class Prefix(Method):
    def __init__(self, config: PrefixConfig, shape: TrunkShape) -> None:
        super().__init__(config.trained_token(shape))
        self.names = [block.name for block in shape.blocks]
        self.rows = nn.ModuleList(PrefixRow(config.length, block.dim, block.heads) for block in shape.blocks)

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        for name, row in zip(self.names, self.rows):
            yield f"{name}.attn.heads", row
