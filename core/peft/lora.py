"""LoRA: a low-rank product beside frozen linear layers (ICLR 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..models.trunk import BlockShape, TrunkShape
from ..models.tuned import Delta
from .method import Method, MethodConfig, PlainMethodConfig
from .probe import ProbeConfig

Target = Literal["qv", "qkv", "proj", "fc1", "fc2"]


class LoRAConfig(PlainMethodConfig):
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

    def folded(self) -> MethodConfig:
        return ProbeConfig()

    def build(self, shape: TrunkShape) -> Method:
        return LoRA(self, shape)


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

    @torch.no_grad()
    def fold(self, operation: nn.Module) -> None:
        """Make the product part of the linear layer."""
        assert isinstance(operation, nn.Linear)
        weight = operation.weight.clone()
        for place, down, up in zip(self.places, self.down, self.up):
            weight[place * self.width : (place + 1) * self.width] += self.scale * (up @ down)
        operation.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.dropout(x)
        pieces: list[Tensor] = list(torch.split(y, self.width, dim=-1))
        for place, down, up in zip(self.places, self.down, self.up):
            pieces[place] = pieces[place] + self.scale * ((x @ down.T) @ up.T)
        return torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0]


_OPERATIONS = {"qv": "attn.qkv", "qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


def _row(block: BlockShape, target: Target, config: LoRAConfig) -> LowRank:
    dim, hidden = block.dim, block.hidden
    if target == "qv":
        return LowRank(dim, (0, 2), dim, config)
    inputs, width = {"qkv": (dim, 3 * dim), "proj": (dim, dim), "fc1": (dim, hidden), "fc2": (hidden, dim)}[target]
    return LowRank(inputs, (0,), width, config)


class LoRA(Method):
    def __init__(self, config: LoRAConfig, shape: TrunkShape) -> None:
        super().__init__()
        self.train_cls = config.train_cls
        found: list[tuple[BlockShape, Target]] = [
            (block, target) for block in shape.blocks for target in config.targets
        ]
        self.operations = [f"{block.name}.{_OPERATIONS[target]}" for block, target in found]
        self.rows = nn.ModuleList(_row(block, target, config) for block, target in found)

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        yield from zip(self.operations, self.rows)
