"""The point-cloud transformer that Point-MAE, Point-BERT, ACT and ReCon share (methods: Point-MAE, section 3).

Shapes: B clouds, N points, G groups (patches) of K points, D width, L = class token + prompts + G tokens.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ..errors import UserError
from .grouping import group
from .patch_embed import PatchEmbed
from .transformer import initialise, make_blocks
from .trunk import BlockShape, Positions, Trunk, TrunkConfig, TrunkShape
from .tuned import tuned

CLASS_TOKEN = ("cls_token", "cls_pos")
MAX_WIDTH = 4096


class PointTransformerConfig(TrunkConfig):
    """Sizes and behaviour of the transformer; the defaults are Point-MAE's."""

    groups: int = Field(default=64, ge=1, le=2048, description="patches per cloud (G)")
    group_size: int = Field(default=32, ge=1, le=256, description="points per patch (K)")
    positions: Literal["method", "every-block", "once"] = Field(
        default="method",
        description="where patch positions are added: before every block, once before the first, "
        "or as the chosen method was published (DAPT once, others every block)",
    )
    skip_origin: bool = Field(
        default=False,
        description="as the published CUDA sampler: points within 0.0316 of the origin are never chosen as centres",
    )
    class_token: bool | None = Field(
        default=None,
        description="a class token stands before the patches; empty: as published, to classify but not to segment",
    )
    dim: int = Field(default=384, ge=8, le=2048, description="token width (D)")
    depth: int = Field(default=12, ge=1, le=48, description="transformer blocks")
    heads: int = Field(default=6, ge=1, le=64, description="attention heads")
    mlp_ratio: float = Field(default=4.0, gt=0, le=16, description="hidden width of the feed-forward part over D")
    widths: tuple[int, int, int] = Field(default=(128, 256, 512), description="hidden widths of the mini-PointNet")
    token_dim: int | None = Field(
        default=None, ge=1, le=MAX_WIDTH, description="output width of the mini-PointNet where it differs from D"
    )

    @model_validator(mode="after")
    def _divisible(self) -> PointTransformerConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if not all(1 <= width <= MAX_WIDTH for width in self.widths):
            raise ValueError(f"each of widths must be at least 1 and at most {MAX_WIDTH}")
        return self

    @property
    def least_points(self) -> int:
        """The fewest points a cloud may have."""
        return max(self.groups, self.group_size)

    @property
    def unneeded(self) -> frozenset[str]:
        return frozenset(CLASS_TOKEN) if self.class_token is False else frozenset()

    @property
    def shape(self) -> TrunkShape:
        token = self.class_token is not False
        hidden = int(self.dim * self.mlp_ratio)
        title: Any = getattr(type(self), "title", "a point transformer")
        return TrunkShape(
            title=title,
            blocks=tuple(BlockShape(f"blocks.{i}", self.dim, self.heads, hidden) for i in range(self.depth)),
            embeds=(("patch_embed", self.dim),),
            norms=(("norm", self.dim),),
            dim=self.dim,
            patches=self.groups,
            fresh=frozenset(CLASS_TOKEN) if token else frozenset(),
            insertable=True,
            lead=int(token),
            levels=tuple(sorted({-(-third * self.depth // 3) - 1 for third in (1, 2, 3)})),  # 4, 8, 12 of 12
            pools=("cls", "patch-max") if token else ("patch-max", "patch-mean"),
            head="mlp3",
        )

    def build(self, positions: Positions) -> PointTransformer:
        return PointTransformer(self, positions=positions)


class PointTransformer(Trunk):
    """Points (B, N, 3) in, tokens (B, L, D) out, after the final norm."""

    def __init__(self, config: PointTransformerConfig, *, positions: Positions = "every-block"):
        super().__init__(config.shape)
        self.config = config
        self.positions = config.positions if config.positions != "method" else positions
        dim = config.dim
        self.patch_embed = PatchEmbed(dim, config.widths, config.token_dim)
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, dim))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if self.shape.lead else None
        self.cls_pos = nn.Parameter(torch.zeros(1, 1, dim)) if self.shape.lead else None
        self.tokens = nn.Identity()
        self.blocks = make_blocks(dim, config.depth, config.heads, config.mlp_ratio, config.drop_path, config.qkv_bias)
        self.read = nn.Identity()  # an operation's place: what a level's tokens pass on their way to the norm
        self.norm = nn.LayerNorm(dim)
        initialise(self)
        for token in (self.cls_token, self.cls_pos):
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)

    def group(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return (patches (B, G, K, 3) relative to their centres, centres (B, G, 3))."""
        n, groups, size = points.shape[1], self.config.groups, self.config.group_size
        if n < self.config.least_points:
            raise UserError(
                "A cloud has too few points for this backbone",
                got=n,
                expected=f"at least {self.config.least_points} ({groups} groups of {size})",
                remedy="Use a denser cloud or a backbone with fewer groups",
            )
        found = group(points, groups, size, skip_origin=self.config.skip_origin)
        batch = torch.arange(points.shape[0], device=points.device)[:, None, None]
        return points[batch, found.index] - found.centres[:, :, None], found.centres

    def places(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        patches, centres = self.group(inputs)
        return self.encode(patches, centres), centres

    def read_levels(self, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        patches, centres = self.group(inputs)
        return self.encode_levels(patches, centres, self.shape.levels), centres

    def prepare(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return (patches as `group` does, or embedded (B, G, D) where nothing of their embedding trains; centres)."""
        patches, centres = self.group(inputs)
        if self.whole_batch() is None:
            return patches, centres
        kernel = getattr(self.patch_embed, "kernel", None)  # as `tuned`, without the deltas, which may train
        with torch.no_grad():
            embedded = self.patch_embed(patches) if kernel is None else kernel(self.patch_embed, patches, True)
        return embedded, centres

    def whole_batch(self) -> nn.Module | None:
        return None if any(one.requires_grad for one in self.patch_embed.parameters()) else self.patch_embed

    def tokens_of(self, *prepared: Tensor) -> Tensor:
        patches, centres = prepared
        return self.encode(patches, centres)

    def levels_of(self, *prepared: Tensor) -> tuple[list[Tensor], Tensor]:
        patches, centres = prepared
        return self.encode_levels(patches, centres, self.shape.levels), centres

    def encode(self, patches: Tensor, centres: Tensor) -> Tensor:
        """Return the tokens (B, L, D) of grouped points; see `group` and `prepare`."""
        return self.encode_levels(patches, centres, (len(self.blocks) - 1,))[0]

    def encode_levels(self, patches: Tensor, centres: Tensor, levels: tuple[int, ...]) -> list[Tensor]:
        """Return the tokens (B, L, D) after each of these blocks, each after the final norm."""
        b = patches.shape[0]
        x, position = self._embedded(patches), self.pos_embed(centres)
        if self.cls_token is not None and self.cls_pos is not None:
            x = torch.cat([self.cls_token.expand(b, -1, -1), x], dim=1)
            position = torch.cat([self.cls_pos.expand(b, -1, -1), position], dim=1)
        x = tuned(self.tokens, x)
        found: list[Tensor] = []
        if self.positions == "once":
            x = self.place(x, position)
        for i, block in enumerate(self.blocks):
            x = self.run(f"blocks.{i}", block, self.place(x, position) if self.positions == "every-block" else x)
            if i in levels:
                found.append(tuned(self.norm, tuned(self.read, x)))
        return found

    def _embedded(self, patches: Tensor) -> Tensor:
        if patches.dim() == 4:
            # Where blocks are recomputed, what the embedding keeps on the way would be the most of a step's memory.
            return tuned(self.patch_embed, patches, *((True,) if self.recomputed else ()))
        x = patches  # embedded before, see `prepare`; what is behind the embedding was not run
        for delta in getattr(self.patch_embed, "deltas", ()):
            x = delta(patches, x)
        return x

    def place(self, x: Tensor, position: Tensor) -> Tensor:
        """Add positions (B, lead + G, D) to class token and patches; prompts between them have none of their own."""
        prompts = x.shape[1] - position.shape[1]
        if not prompts:
            return x + position
        nothing = position.new_zeros(position.shape[0], prompts, position.shape[2])
        lead = self.shape.lead
        return x + torch.cat([position[:, :lead], nothing, position[:, lead:]], dim=1)
