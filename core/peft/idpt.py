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
    """A dynamic prompt from edge convolutions over the patches, inserted before block `layer`."""

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
        self.layer, self.depth, self.patches = layer, len(shape.blocks), shape.patches
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
        return torch.cat([y[:, :1], prompt, y[:, 1:]], dim=1)

    def place(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the prompt's position again before the next block, as the patches get theirs."""
        return torch.cat([y[:, :1], y[:, 1:2] + self.position, y[:, 2:]], dim=1)
