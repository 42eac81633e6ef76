"""Visual prompt tuning: learned tokens beside the patches, once or anew before every block (ECCV 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..models.trunk import TrunkShape
from ..models.tuned import Delta
from .method import Method, PlainMethodConfig


class VPTConfig(PlainMethodConfig):
    """Prompts before the first block (shallow), or fresh ones before each block (deep)."""

    title: ClassVar[str] = "VPT"
    source: ClassVar[str] = "VPT (ECCV 2022), section 3.2; the deep form with positions as in IDPT's repository"
    kind: Literal["vpt"] = "vpt"
    depth: Literal["deep", "shallow"] = Field(
        default="deep", description="anew before every block, or only before the first"
    )
    prompts: int = Field(default=10, ge=1, le=1000, description="prompts per place")
    positions_too: bool = Field(default=True, description="a learned position is added to each prompt")
    train_cls: bool = Field(
        default=True, description="also train the class token, in point-cloud transformers that have one"
    )

    def check(self, shape: TrunkShape) -> None:
        shape.require_insertable(self.title)

    def build(self, shape: TrunkShape) -> Method:
        return VPT(self, shape)


class PromptRow(nn.Module):
    """Put this place's prompts behind the class token, if there is one, in place of the `before` that stand there."""

    def __init__(self, count: int, dim: int, positions: bool, before: int, lead: int) -> None:
        super().__init__()
        self.before, self.lead = before, lead
        self.prompts = nn.Parameter(torch.empty(1, count, dim)) if count else None
        self.positions = nn.Parameter(torch.empty(1, count, dim)) if count and positions else None
        for tensor in (self.prompts, self.positions):
            if tensor is not None:
                nn.init.trunc_normal_(tensor, std=0.02)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        first, rest = y[:, : self.lead], y[:, self.lead + self.before :]
        if self.prompts is None:
            return torch.cat([first, rest], dim=1)
        prompts = self.prompts if self.positions is None else self.prompts + self.positions
        return torch.cat([first, prompts.to(y.dtype).expand(len(y), -1, -1), rest], dim=1)


class VPT(Method):
    def __init__(self, config: VPTConfig, shape: TrunkShape) -> None:
        super().__init__(config.trained_token(shape))
        dim, count, depth = shape.dim, config.prompts, len(shape.blocks)
        places = depth if config.depth == "deep" else 1
        self.rows = nn.ModuleList(
            PromptRow(count, dim, config.positions_too, count if i else 0, shape.lead) for i in range(places)
        )
        self.last = f"blocks.{depth - 1}"
        self.take_off = PromptRow(0, dim, False, count, shape.lead)

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        for i, row in enumerate(self.rows):
            yield ("tokens" if i == 0 else f"blocks.{i - 1}"), row
        yield self.last, self.take_off  # what reads the tokens finds class token and patches only
