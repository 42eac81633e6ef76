"""DAPT: a Dynamic Adapter in parallel to each feed-forward part, joined with internal prompts and TFTS (CVPR 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..models.head import Part
from ..models.made_again import made_again
from ..models.trunk import BlockShape, Positions, TrunkShape
from ..models.tuned import Delta
from .bottleneck import DynamicAdapter
from .method import Method, MethodConfig, with_prompts
from .scale_shift import ScaleShift


class DAPTConfig(MethodConfig):
    """Dynamic Adapter with internal prompts; the defaults are those published for ScanObjectNN PB_T50_RS."""

    title: ClassVar[str] = "DAPT"
    source: ClassVar[str] = "DAPT (CVPR 2024), section 3"
    positions: ClassVar[Positions] = "once"
    kind: Literal["dapt"] = "dapt"
    rank: int = Field(default=64, ge=1, le=1024, description="width of the adapter's bottleneck")
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0, description="dropout inside the adapter while training")

    tfts: bool = Field(
        default=True,
        description="scale and shift after every operation; off where they have been folded into the backbone",
    )

    def folded(self) -> MethodConfig:
        return self.model_copy(update={"tfts": False}) if self.tfts else super().folded()

    def check(self, shape: TrunkShape) -> None:
        shape.require_insertable(self.title)

    def build(self, shape: TrunkShape) -> Method:
        return DAPT(self, shape)

    def head_parts(self, shape: TrunkShape) -> tuple[Part, ...]:
        return with_prompts(shape, "prompt-mean")

    def level_pools(self, shape: TrunkShape) -> tuple[Part, ...]:
        return ("prompt-mean", "patch-max")  # no code of its segmentation is public; so much of the head's size fits


class DAPTBlock(nn.Module):
    """The rows of one block: six scale-and-shifts, the adapter, and the prompt made of the adapter's answer."""

    def __init__(self, config: DAPTConfig, block: BlockShape, lead: int) -> None:
        super().__init__()
        self.lead = lead
        self.adapter = DynamicAdapter(block.dim, config.rank, config.dropout)
        self.prompt = ScaleShift(block.dim)
        self.operations = list(block.widths()) if config.tfts else []
        widths = block.widths() if config.tfts else {}
        self.tfts = nn.ModuleDict({_last(name): ScaleShift(width) for name, width in widths.items()})
        self._pooled: Tensor | None = None

    def add_update(self, x: Tensor, y: Tensor) -> Tensor:
        """After the feed-forward part: add the adapter's answer to its input, and put its mean aside for the prompt.

        For the gradients only the input and dropout's draw are kept, a sixth of a block's memory less; the rest, a
        hundredth of the block's arithmetic, is made again.
        """
        kept = self.adapter.draw(x)
        if torch.is_grad_enabled() and self.training and not torch.compiler.is_compiling():
            inputs = [x] if kept is None else [x, kept]
            update, self._pooled = made_again(self._answered, inputs, tuple(self.adapter.parameters()))
        else:
            update, self._pooled = self._answered(x, kept)
        return y + update

    def _answered(self, x: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the adapter's answer (B, L, D) and the mean of its GELU over all tokens (B, 1, D)."""
        update: Tensor = self.adapter(x) if kept is None else self.adapter(x, kept)
        return update, F.gelu(update).mean(dim=1, keepdim=True)

    def insert_prompt(self, x: Tensor, y: Tensor) -> Tensor:
        """After the block: make a prompt of the adapter's mean and insert it right behind the class token."""
        pooled, self._pooled = self._pooled, None
        assert pooled is not None, "the feed-forward part of this block did not run"
        return torch.cat([y[:, : self.lead], self.prompt(None, pooled), y[:, self.lead :]], dim=1)


class DAPT(Method):
    def __init__(self, config: DAPTConfig, shape: TrunkShape) -> None:
        super().__init__(shape.fresh)
        (self.embed_name, embed), (self.final_name, final) = shape.embeds[0], shape.norms[0]
        self.embed = ScaleShift(embed) if config.tfts else None
        self.final = ScaleShift(final) if config.tfts else None
        self.names = [block.name for block in shape.blocks]
        self.blocks = nn.ModuleList(DAPTBlock(config, block, shape.lead) for block in shape.blocks)

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        if self.embed is not None:
            yield self.embed_name, self.embed
        for name, rows in zip(self.names, self.blocks):
            assert isinstance(rows, DAPTBlock)
            for operation in rows.operations:
                yield operation, rows.tfts[_last(operation)]
            yield f"{name}.mlp", rows.add_update
            yield name, rows.insert_prompt
        if self.final is not None:
            yield self.final_name, self.final


def _last(operation: str) -> str:
    return operation.rpartition(".")[2]
