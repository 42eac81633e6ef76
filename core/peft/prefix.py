"""Prefix tuning: learned keys and values in front of every attention (ACL 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..models.point_transformer import PointTransformer
from ..models.tuned import Delta
from .method import Method, MethodConfig, is_class_token


class PrefixConfig(MethodConfig):
    """Learned keys and values that every token attends to, per block."""

    title: ClassVar[str] = "Prefix tuning"
    source: ClassVar[str] = "Prefix-tuning (ACL 2021), section 4"
    kind: Literal["prefix"] = "prefix"
    length: int = Field(default=50, ge=1, le=1000, description="keys and values per block")
    train_cls: bool = Field(
        default=False, description="also train the class token, which pre-training does not provide"
    )

    def build(self, trunk: PointTransformer) -> Method:
        return Prefix(self, trunk)


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
    def __init__(self, config: PrefixConfig, trunk: PointTransformer) -> None:
        super().__init__()
        self.train_cls = config.train_cls
        size = trunk.config
        self.rows = nn.ModuleList(PrefixRow(config.length, size.dim, size.heads) for _ in range(size.depth))

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        for i, row in enumerate(self.rows):
            yield f"blocks.{i}.attn.heads", row

    def tunes(self, name: str) -> bool:
        return self.train_cls and is_class_token(name)
