"""NOAH: adapter, low-rank update and prompts in every block, each of a size that a search finds (arXiv 2206.04673).

A *plan* gives the three sizes of every block. A *supernet* holds the largest sizes; its smaller sizes are slices of
the same weights, the first rows or columns. `core/training/search.py` trains one and searches it.

Read in ZhangYuanhan-AI/NOAH (commits ded6834 and 0253253; evolution.py at 7c03a2c): the three parts, their places, the
slices, the search space, the drawing at every step, and how they start. Adapter and low-rank weights there start as a
truncated normal of deviation 0.02, the second matrices too: the transformer's own initialisation runs over all linear
layers after Xavier and zeros were set, so a fresh model does not answer as its backbone does. The paper's text was not
at hand.

Left out, as it changes no answer: prompts with positions before the first block, which that block replaces at once
though they are counted (768 * (prompts of the first block + 100) in ViT-B/16). One difference while training: there,
stochastic depth drops the feed-forward part before the adapter, here both together.

Sizes on ViT-B/16, without head: the 19 plans for VTAB-1k published last have 287,278 to 431,686 parameters, on average
360,134; those of ded6834 225,054 to 555,334, on average 461,052 (562,508 as the repository counts, each below its limit
of 0.64 M). The 0.54 M that the authors name in their issue 1 follows from neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_serializer, model_validator
from torch import Tensor, nn

from ..errors import UserError
from ..models.trunk import TrunkShape
from ..models.tuned import Delta
from ..schema import Config
from .lora import LoRAConfig, LowRank
from .method import Method, MethodConfig, PlainMethodConfig
from .probe import ProbeConfig

Part = Literal["adapter", "lora", "prompts"]
PARTS: tuple[Part, ...] = ("adapter", "lora", "prompts")


class BlockPlan(Config):
    """The sizes of one block, 0 where it has none; written as `5/10/1` (adapter, low-rank update, prompts)."""

    adapter: int = Field(default=0, ge=0, le=1024, description="width of the adapter")
    lora: int = Field(default=0, ge=0, le=1024, description="rank of the update of queries, keys and values")
    prompts: int = Field(default=0, ge=0, le=1000, description="number of prompts")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, content: Any) -> Any:
        if not isinstance(content, str):
            return content
        sizes = content.split("/")
        if len(sizes) != len(PARTS):
            raise ValueError("three sizes as in 5/10/1: adapter, low-rank update, prompts")
        return dict(zip(PARTS, sizes))

    @model_serializer
    def _to_text(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self.adapter}/{self.lora}/{self.prompts}"

    def size(self, part: Part) -> int:
        return {"adapter": self.adapter, "lora": self.lora, "prompts": self.prompts}[part]


Plan = tuple[BlockPlan, ...]


class NOAHConfig(PlainMethodConfig):
    """A serial adapter, a low-rank update of the fused projection and prompts, sized block by block."""

    title: ClassVar[str] = "NOAH"
    source: ClassVar[str] = "NOAH (arXiv 2206.04673); as in its repository"
    kind: Literal["noah"] = "noah"
    plan: tuple[BlockPlan, ...] | None = Field(
        default=(BlockPlan(adapter=5, lora=5, prompts=5),),
        description="adapter/rank/prompts of each block, or one such entry for all; `pointsmith search` finds one; "
        "empty: the supernet",
    )
    sizes: tuple[int, ...] = Field(
        default=(1, 5, 10),
        description="what a search chooses from, for each of the three: 1, 5, 10 are those of the plans published last",
    )
    dropout: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="dropout in adapters, before updates and on prompts while training"
    )

    @field_validator("sizes")
    @classmethod
    def _some_sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if not sizes or min(sizes) < 1 or max(sizes) > 1000:
            raise ValueError("one or more sizes of 1 to 1000")
        return tuple(sorted(set(sizes)))

    def check(self, shape: TrunkShape) -> None:
        shape.require_insertable(self.title)
        blocks = len(shape.blocks)
        if self.plan is None:
            return
        if len(self.plan) not in (1, blocks):
            raise UserError(
                "method.plan does not have an entry for each block",
                got=len(self.plan),
                expected=f"{blocks} entries, or one for all",
            )
        if not any(block.size(part) for block in self.plan for part in PARTS):
            raise UserError("method.plan has nothing that could train", remedy="Choose the method probe instead")

    def planned(self, shape: TrunkShape) -> Plan:
        """Return the sizes of every block: those of the plan, or the supernet's, which are the largest."""
        most = max(self.sizes)
        plan = self.plan or (BlockPlan(adapter=most, lora=most, prompts=most),)
        return plan if len(plan) == len(shape.blocks) else plan * len(shape.blocks)

    def folded(self) -> MethodConfig:
        if self.plan is None or not any(block.lora for block in self.plan):
            return super().folded()
        left = tuple(block.model_copy(update={"lora": 0}) for block in self.plan)
        if any(block.adapter or block.prompts for block in left):
            return self.model_copy(update={"plan": left})
        return ProbeConfig(train_cls=self.train_cls)

    def build(self, shape: TrunkShape) -> Method:
        return NOAH(self, shape)


def depths(blocks: int) -> tuple[int, ...]:
    """Return how many of the first blocks may have a part: quarters, as 3, 6, 9 and 12 of NOAH's 12."""
    return tuple(sorted({-(-blocks * quarter // 4) for quarter in (1, 2, 3, 4)}))


def from_columns(columns: Mapping[Part, Sequence[int]]) -> Plan:
    """Return the plan whose blocks have these sizes of each part."""
    rows = zip(*(columns[part] for part in PARTS))
    return tuple(BlockPlan(adapter=adapter, lora=lora, prompts=prompts) for adapter, lora, prompts in rows)


def draw_sizes(rng: np.random.Generator, sizes: Sequence[int], count: int) -> list[int]:
    """Return `count` of the sizes, each as likely as any other."""
    return [sizes[i] for i in rng.integers(len(sizes), size=count)]


def draw_depth(rng: np.random.Generator, blocks: int) -> int:
    """Return one of the depths."""
    return depths(blocks)[rng.integers(len(depths(blocks)))]


def draw_plan(rng: np.random.Generator, sizes: Sequence[int], blocks: int) -> Plan:
    """Return a random plan as NOAH draws it: for each part a depth, and for each block down to it a size."""
    columns: dict[Part, list[int]] = {}
    for part in PARTS:
        depth = draw_depth(rng, blocks)
        columns[part] = draw_sizes(rng, sizes, depth) + [0] * (blocks - depth)
    return from_columns(columns)


def count_parameters(plan: Plan, shape: TrunkShape) -> int:
    """Return how many parameters the parts of a plan have; head and class token are not among them."""
    total = 0
    for block, at in zip(plan, shape.blocks):
        if block.adapter:
            total += block.adapter * (2 * at.dim + 1) + at.dim
        total += block.lora * 4 * at.dim + block.prompts * at.dim
    return total


class SlicedAdapter(nn.Module):
    """The delta y to y + up(dropout(act(down y))), act x * sigmoid(1.702 x); only the first `size` hidden units act."""

    def __init__(self, dim: int, size: int, dropout: float) -> None:
        super().__init__()
        self.size = size
        self.down = nn.Linear(dim, size)
        self.up = nn.Linear(size, dim)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.size:
            return y
        hidden = F.linear(y, self.down.weight[: self.size], self.down.bias[: self.size])
        hidden = self.dropout(hidden * torch.sigmoid(1.702 * hidden))
        return y + F.linear(hidden, self.up.weight[:, : self.size], self.up.bias)


class SlicedLowRank(LowRank):
    """The delta y to y + B A x of the fused projection, of which only the first `size` ranks act."""

    def __init__(self, dim: int, size: int, dropout: float) -> None:
        super().__init__(dim, (0,), 3 * dim, LoRAConfig(rank=size, dropout=dropout))
        self.size = size
        for matrix in (*self.down, *self.up):
            nn.init.trunc_normal_(matrix, std=0.02)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.size:
            return y
        down, up = self.down[0][: self.size], self.up[0][:, : self.size]
        return y + (self.dropout(x) @ down.T) @ up.T


class SlicedPrompts(nn.Module):
    """Put the first `size` prompts behind the class token, in place of the `before` that stand there."""

    def __init__(self, dim: int, size: int, dropout: float, most: int, lead: int) -> None:
        super().__init__()
        self.size, self.before, self.lead = size, 0, lead
        self.tokens = nn.Parameter(torch.empty(1, size, dim))
        self.dropout = nn.Dropout(dropout)
        bound = (6 / (dim * (most + 1))) ** 0.5  # Xavier's for all prompts of a supernet, as every subnet started
        nn.init.uniform_(self.tokens, -bound, bound)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.size:
            return y
        prompts = self.dropout(self.tokens[:, : self.size].to(y.dtype).expand(len(y), -1, -1))
        return torch.cat([y[:, : self.lead], prompts, y[:, self.lead + self.before :]], dim=1)


class TakeOff(nn.Module):
    """Take the `standing` prompts off again, so that what reads the tokens finds class token and patches only."""

    def __init__(self, lead: int) -> None:
        super().__init__()
        self.standing, self.lead = 0, lead

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.standing:
            return y
        return torch.cat([y[:, : self.lead], y[:, self.lead + self.standing :]], dim=1)


class NOAH(Method):
    """A plan's parts, or a supernet: then each training step runs a random plan, and evaluation the one chosen."""

    def __init__(self, config: NOAHConfig, shape: TrunkShape) -> None:
        super().__init__(config.trained_token(shape))
        self.sizes, self.searched = config.sizes, config.plan is None
        self.whole = self.chosen = plan = config.planned(shape)
        self.names = [block.name for block in shape.blocks]
        numbered = [(str(i), block, at.dim) for i, (block, at) in enumerate(zip(plan, shape.blocks))]
        dropout, most = config.dropout, max(config.sizes)
        self.adapters = nn.ModuleDict({i: SlicedAdapter(d, b.adapter, dropout) for i, b, d in numbered if b.adapter})
        self.loras = nn.ModuleDict({i: SlicedLowRank(d, b.lora, dropout) for i, b, d in numbered if b.lora})
        self.prompts = nn.ModuleDict(
            {
                i: SlicedPrompts(d, b.prompts, dropout, max(most, b.prompts), shape.lead)
                for i, b, d in numbered
                if b.prompts
            }
        )
        self.take_off = TakeOff(shape.lead)
        self._apply_plan(plan)

    def choose(self, plan: Plan | None) -> None:
        """Have a supernet run as this plan from now on, or at its full size; drawing for training steps goes on.

        UserError when the plan has another number of blocks, or sizes that the supernet does not have.
        """
        plan = plan or self.whole
        fits = len(plan) == len(self.whole) and all(
            block.size(part) <= most.size(part) for block, most in zip(plan, self.whole) for part in PARTS
        )
        if not fits:
            raise UserError(
                "The plan is not part of this supernet",
                got=", ".join(map(str, plan)),
                expected=f"{len(self.whole)} blocks of at most {self.whole[0]}",
            )
        self.chosen = plan
        self._apply_plan(plan)

    def begin_step(self, rng: np.random.Generator) -> None:
        if self.searched:
            self._apply_plan(draw_plan(rng, self.sizes, len(self.whole)))

    def train(self, mode: bool = True) -> NOAH:
        super().train(mode)
        self._apply_plan(self.chosen)  # what a training step drew ends with it
        return self

    def _apply_plan(self, plan: Plan) -> None:
        """Set the sizes that act. A block without prompts keeps those before it; the next prompts replace only those
        of the block just before, as in NOAH.
        """
        standing = 0
        for i, block in enumerate(plan):
            for rows, size in ((self.adapters, block.adapter), (self.loras, block.lora), (self.prompts, block.prompts)):
                if str(i) in rows:
                    row = rows[str(i)]
                    assert isinstance(row, (SlicedAdapter, SlicedLowRank, SlicedPrompts))
                    row.size = size
            if block.prompts:
                row = self.prompts[str(i)]
                assert isinstance(row, SlicedPrompts)
                row.before = plan[i - 1].prompts if i else 0
                standing += block.prompts - row.before
        self.take_off.standing = standing

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        for i, row in self.prompts.items():
            yield (self.names[int(i) - 1] if int(i) else "tokens"), row
        for i, row in self.loras.items():
            yield f"{self.names[int(i)]}.attn.qkv", row
        for i, row in self.adapters.items():
            yield f"{self.names[int(i)]}.mlp", row
        if len(self.prompts):
            yield self.names[-1], self.take_off


_CUTS: dict[str, tuple[Part, dict[str, int | None]]] = {
    "adapters": ("adapter", {"down.weight": 0, "down.bias": 0, "up.weight": 1, "up.bias": None}),
    "loras": ("lora", {"down.0": 0, "up.0": 1}),
    "prompts": ("prompts", {"tokens": 1}),
}
"""{modules: (part, {tensor: the axis that its size is along})}."""


def inherit(supernet: Mapping[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """Return the `adapter_state` of a plan's own model, cut out of a supernet's."""
    state: dict[str, Tensor] = {}
    for name, tensor in supernet.items():
        found = re.fullmatch(r"method\.(adapters|loras|prompts)\.(\d+)\.(.+)", name)
        if found is None:
            state[name] = tensor
            continue
        part, axes = _CUTS[found[1]]
        size, axis = plan[int(found[2])].size(part), axes[found[3]]
        if size:
            state[name] = tensor if axis is None else tensor.narrow(axis, 0, size).clone()
    return state
