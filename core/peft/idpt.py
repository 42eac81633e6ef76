"""IDPT: a prompt generated from the cloud itself by a small graph network, before one late block (ICCV 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..errors import UserError
from ..models.head import Part
from ..models.trunk import TrunkShape
from ..models.tuned import Delta
from .method import Method, MethodConfig, with_prompts


class IDPTConfig(MethodConfig):
    """A dynamic prompt from edge convolutions over the patches, inserted before block `layer`.

    To segment, as its repository does, three prompts without edges, before blocks 4, 8 and 12: no setting counts there.
    """

    title: ClassVar[str] = "IDPT"
    source: ClassVar[str] = "IDPT (ICCV 2023), section 3"
    kind: Literal["idpt"] = "idpt"
    layer: int | None = Field(
        default=None, ge=1, description="block (from 0) that first sees the prompt; empty: the last"
    )
    neighbours: int = Field(
        default=20, ge=1, le=256, description="nearest patches, in feature space, that an edge joins"
    )

    def check(self, shape: TrunkShape) -> None:
        shape.require_insertable(self.title)
        last = len(shape.blocks) - 1
        if last < 1:
            raise UserError("IDPT needs a backbone of at least two blocks", got=last + 1)
        if self.layer is not None and self.layer > last:
            raise UserError("method.layer is not a block of this backbone", got=self.layer, expected=f"1 to {last}")
        if self.neighbours > shape.patches:
            raise UserError("method.neighbours exceeds the patches", got=self.neighbours, expected=f"≤ {shape.patches}")

    def build(self, shape: TrunkShape) -> Method:
        return IDPT(len(shape.blocks) - 1 if self.layer is None else self.layer, self.neighbours, shape)

    def build_for_levels(self, shape: TrunkShape) -> Method:
        return IDPTLevels(shape)

    def level_pools(self, shape: TrunkShape) -> tuple[Part, ...]:
        return ("prompt-first", "prompt-last")

    def head_parts(self, shape: TrunkShape) -> tuple[Part, ...]:
        return with_prompts(shape, "prompt-max")


class EdgeConv(nn.Module):
    """max over the k nearest tokens of act(norm(W [x_j - x_i; x_i])), (B, G, D) to (B, G, D) (DGCNN, section 3.1)."""

    def __init__(self, dim: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.weight = nn.Linear(2 * dim, dim, bias=False)
        self.norm = nn.BatchNorm1d(dim)
        self.written_out = False

    def forward(self, x: Tensor) -> Tensor:
        b, _, d = x.shape
        near = torch.cdist(x, x).topk(self.neighbours, largest=False).indices
        batch = torch.arange(b, device=x.device)[:, None, None]
        if self.written_out:  # as the publication counts it, see `flops`
            centre = x[:, :, None].expand(-1, -1, self.neighbours, -1)
            edges = self.weight(torch.cat([x[batch, near] - centre, centre], dim=-1))
            edges = self.norm(edges.flatten(0, 2)).view(edges.shape)
            return F.leaky_relu(edges, 0.2).amax(dim=2)
        # W [x_j - x_i; x_i] = A x_j + (B - A) x_i: the large product is made once per token, not once per edge.
        of_neighbour, of_centre = self.weight.weight[:, :d], self.weight.weight[:, d:]
        edges = F.linear(x, of_neighbour)[batch, near] + F.linear(x, of_centre - of_neighbour)[:, :, None]
        edges = self.norm(edges.flatten(0, 2)).view(edges.shape)
        return F.leaky_relu(edges, 0.2).amax(dim=2)


class PromptGenerator(nn.Module):
    """Patches (B, G, D) to one prompt (B, 1, D): three edge convolutions, joined, mixed, and their maximum."""

    def __init__(self, dim: int, neighbours: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(EdgeConv(dim, neighbours) for _ in range(3))
        self.mix = nn.Linear(3 * dim, dim, bias=False)
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, patches: Tensor) -> Tensor:
        x, found = patches, list[Tensor]()
        for edge in self.edges:
            x = edge(x)
            found.append(x)
        mixed = self.mix(torch.cat(found, dim=-1))
        mixed = F.leaky_relu(self.norm(mixed.flatten(0, 1)).view(mixed.shape), 0.2)
        return mixed.amax(dim=1, keepdim=True)


class IDPT(Method):
    def __init__(self, layer: int, neighbours: int, shape: TrunkShape) -> None:
        super().__init__(shape.fresh)
        self.layer, self.depth, self.patches, self.lead = layer, len(shape.blocks), shape.patches, shape.lead
        self.generator = PromptGenerator(shape.dim, neighbours)
        # Published as a random, frozen position of the prompt; saved with the adapter.
        self.position: Tensor
        self.register_buffer("position", nn.init.trunc_normal_(torch.empty(1, 1, shape.dim), std=0.02))

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        yield f"blocks.{self.layer - 1}", self.insert
        for i in range(self.layer, self.depth - 1):
            yield f"blocks.{i}", self.place

    def runs_once(self) -> frozenset[str]:
        return frozenset((f"blocks.{self.layer - 1}",))

    def insert(self, x: Tensor, y: Tensor) -> Tensor:
        """Insert the generated prompt, with its position, behind the class token."""
        prompt = self.generator(y[:, -self.patches :]) + self.position
        return torch.cat([y[:, : self.lead], prompt, y[:, self.lead :]], dim=1)

    def place(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the prompt's position again before the next block, as the patches get theirs."""
        first, rest = y[:, : self.lead], y[:, self.lead + 1 :]
        return torch.cat([first, y[:, self.lead : self.lead + 1] + self.position, rest], dim=1)


class PlainGenerator(nn.Module):
    """Patches (B, G, D) to one prompt (B, 1, D): the last layer of `PromptGenerator` alone, and the maximum."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mix = nn.Linear(dim, dim, bias=False)
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, patches: Tensor) -> Tensor:
        mixed = self.mix(patches)
        mixed = F.leaky_relu(self.norm(mixed.flatten(0, 1)).view(mixed.shape), 0.2)
        return mixed.amax(dim=1, keepdim=True)


class IDPTLevels(Method):
    """IDPT's segmentation: each block that the head reads sees a prompt made of the patches before it.

    What the head learns of the whole cloud is the prompt before that block and behind it, in place of the patches'
    maximum and mean. Source: `segmentation/models/prompt_pt3.py` in zyh16143998882/ICCV23-IDPT.
    """

    def __init__(self, shape: TrunkShape) -> None:
        super().__init__(shape.fresh)
        self.lead, self.patches, self.levels = shape.lead, shape.patches, shape.levels
        self.names = [block.name for block in shape.blocks]
        self.generators = nn.ModuleList(PlainGenerator(shape.dim) for _ in shape.levels)
        self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, shape.dim), std=0.02))
        self._before: Tensor | None = None
        self._pair: list[Tensor] = []

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        for generator, block in zip(self.generators, self.levels):
            yield (self.names[block - 1] if block else "tokens"), _Insert(self, generator)
            yield self.names[block], self.take_off
        yield "read", self.show

    def runs_once(self) -> frozenset[str]:
        return frozenset(self.names[i] for block in self.levels for i in (block - 1, block) if i >= 0)

    def insert(self, generator: nn.Module, y: Tensor) -> Tensor:
        """Before a level's block: insert the prompt, with its position, and put it aside as it is."""
        prompt: Tensor = generator(y[:, -self.patches :])
        self._before = prompt
        return torch.cat([y[:, : self.lead], prompt + self.position, y[:, self.lead :]], dim=1)

    def take_off(self, x: Tensor, y: Tensor) -> Tensor:
        """Behind that block: take the prompt off, so that the next blocks see patches only."""
        assert self._before is not None, "the prompt of this block was not made"
        self._pair = [self._before, y[:, self.lead : self.lead + 1]]
        self._before = None
        return torch.cat([y[:, : self.lead], y[:, self.lead + 1 :]], dim=1)

    def show(self, x: Tensor, y: Tensor) -> Tensor:
        """On the way to the head: put both prompts of this level before its patches."""
        pair, self._pair = self._pair, []
        return torch.cat([y[:, : self.lead], *pair, y[:, -self.patches :]], dim=1)


class _Insert:
    """The delta that inserts the prompt of one generator."""

    def __init__(self, method: IDPTLevels, generator: nn.Module) -> None:
        self.method, self.generator = method, generator

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return self.method.insert(self.generator, y)
