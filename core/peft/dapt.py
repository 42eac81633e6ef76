"""DAPT: a Dynamic Adapter in parallel to each feed-forward part, joined with internal prompts and TFTS (CVPR 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..models.head import Part
from ..models.point_transformer import PointTransformer
from ..models.tuned import Delta
from .bottleneck import DynamicAdapter
from .method import Method, MethodConfig, is_class_token
from .scale_shift import ScaleShift


class DAPTConfig(MethodConfig):
    """Dynamic Adapter with internal prompts; the defaults are those published for ScanObjectNN PB_T50_RS."""

    title: ClassVar[str] = "DAPT"
    source: ClassVar[str] = "DAPT (CVPR 2024), section 3"
    positions: ClassVar[Literal["every-block", "once"]] = "once"
    kind: Literal["dapt"] = "dapt"
    rank: int = Field(default=64, ge=1, le=1024, description="width of the adapter's bottleneck")
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0, description="dropout inside the adapter while training")

    def build(self, trunk: PointTransformer) -> Method:
        return DAPT(self, trunk)

    def head_parts(self) -> tuple[Part, ...]:
        return ("cls", "prompt-mean", "patch-max")


class DAPTBlock(nn.Module):
    """The rows of one block: six scale-and-shifts, the adapter, and the prompt made of the adapter's answer."""

    def __init__(self, config: DAPTConfig, dim: int, hidden: int) -> None:
        super().__init__()
        self.adapter = DynamicAdapter(dim, config.rank, config.dropout)
        self.prompt = ScaleShift(dim)
        widths = {"norm1": dim, "qkv": 3 * dim, "proj": dim, "norm2": dim, "fc1": hidden, "fc2": dim}
        self.tfts = nn.ModuleDict({name: ScaleShift(width) for name, width in widths.items()})
        self._update: Tensor | None = None

    def add_update(self, x: Tensor, y: Tensor) -> Tensor:
        """After the feed-forward part: add the adapter's answer to its input, and put it aside for the prompt."""
        update: Tensor = self.adapter(x)
        self._update = update
        return y + update

    def insert_prompt(self, x: Tensor, y: Tensor) -> Tensor:
        """After the block: take the answer and insert its mean over all tokens right behind the class token."""
        update, self._update = self._update, None
        assert update is not None, "the feed-forward part of this block did not run"
        pooled = F.gelu(update).mean(dim=1, keepdim=True)
        return torch.cat([y[:, :1], self.prompt(None, pooled), y[:, 1:]], dim=1)


class DAPT(Method):
    def __init__(self, config: DAPTConfig, trunk: PointTransformer) -> None:
        super().__init__()
        dim, hidden = trunk.config.dim, int(trunk.config.dim * trunk.config.mlp_ratio)
        self.embed = ScaleShift(dim)
        self.final = ScaleShift(dim)
        self.blocks = nn.ModuleList(DAPTBlock(config, dim, hidden) for _ in range(trunk.config.depth))

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        yield "patch_embed", self.embed
        for i, rows in enumerate(self.blocks):
            assert isinstance(rows, DAPTBlock)
            name = f"blocks.{i}"
            yield f"{name}.norm1", rows.tfts["norm1"]
            yield f"{name}.attn.qkv", rows.tfts["qkv"]
            yield f"{name}.attn.proj", rows.tfts["proj"]
            yield f"{name}.norm2", rows.tfts["norm2"]
            yield f"{name}.mlp.fc1", rows.tfts["fc1"]
            yield f"{name}.mlp.fc2", rows.tfts["fc2"]
            yield f"{name}.mlp", rows.add_update
            yield name, rows.insert_prompt
        yield "norm", self.final

    def tunes(self, name: str) -> bool:
        return is_class_token(name)
