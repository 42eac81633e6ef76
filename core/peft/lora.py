"""LoRA: a low-rank product beside frozen linear layers (ICLR 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..models.point_transformer import PointTransformer
from ..models.tuned import Delta
from .method import Method, MethodConfig, is_class_token

Target = Literal["qv", "qkv", "proj", "fc1", "fc2"]


class LoRAConfig(MethodConfig):
    """y + scale * B A x on chosen linear layers of each block; B starts at zero."""

    title: ClassVar[str] = "LoRA"
    source: ClassVar[str] = "LoRA (ICLR 2022), section 4.1"
    kind: Literal["lora"] = "lora"
    rank: int = Field(default=32, ge=1, le=1024, description="rank of the product")
    targets: tuple[Target, ...] = Field(
        default=("qv",), description="qv: queries and values apart; qkv: the fused projection"
    )
    scale: float = Field(default=1.0, gt=0, le=1000, description="factor on the product (alpha / rank)")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="dropout on the input while training")
    train_cls: bool = Field(
        default=False, description="also train the class token, which pre-training does not provide"
    )

    def build(self, trunk: PointTransformer) -> Method:
        return LoRA(self, trunk)


class LowRank(nn.Module):
    """The delta y to y + scale * B A x; `parts` of several outputs side by side may be left alone (None)."""

    def __init__(self, inputs: int, outputs: tuple[int | None, ...], width: int, config: LoRAConfig) -> None:
        super().__init__()
        self.scale, self.width = config.scale, width
        self.dropout = nn.Dropout(config.dropout)
        self.places = tuple(place for place in outputs if place is not None)
        self.down = nn.ParameterList(torch.empty(config.rank, inputs) for _ in self.places)
        self.up = nn.ParameterList(torch.zeros(width, config.rank) for _ in self.places)
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=5**0.5)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.dropout(x)
        pieces: list[Tensor] = list(torch.split(y, self.width, dim=-1))
        for place, down, up in zip(self.places, self.down, self.up):
            pieces[place] = pieces[place] + self.scale * ((x @ down.T) @ up.T)
        return torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0]


class LoRA(Method):
    def __init__(self, config: LoRAConfig, trunk: PointTransformer) -> None:
        super().__init__()
        dim, hidden = trunk.config.dim, int(trunk.config.dim * trunk.config.mlp_ratio)
        self.train_cls = config.train_cls
        makers = {
            "qv": ("attn.qkv", dim, (0, 2), dim),
            "qkv": ("attn.qkv", dim, (0,), 3 * dim),
            "proj": ("attn.proj", dim, (0,), dim),
            "fc1": ("mlp.fc1", dim, (0,), hidden),
            "fc2": ("mlp.fc2", hidden, (0,), dim),
        }
        self.operations = [
            (f"blocks.{i}.{makers[target][0]}", target) for i in range(trunk.config.depth) for target in config.targets
        ]
        self.rows = nn.ModuleList(LowRank(*makers[target][1:], config) for _, target in self.operations)

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        for (operation, _), row in zip(self.operations, self.rows):
            yield operation, row

    def tunes(self, name: str) -> bool:
        return self.train_cls and is_class_token(name)
