"""Point-M2AE's hierarchical transformer: three stages of ever fewer, ever wider tokens (NeurIPS 2022, section 3.1).

Shapes: B clouds, N points; in stage s, G_s groups of K_s points (later: of tokens of the stage before), width D_s.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ..errors import UserError
from .grouping import group
from .patch_embed import PatchEmbed
from .point_transformer import MAX_WIDTH
from .source import Source
from .transformer import Block, initialise
from .trunk import BlockShape, Positions, Trunk, TrunkConfig, TrunkShape
from .tuned import tuned

_MOST = {"groups": 2048, "group_sizes": 256, "dims": 2048, "depths": 48, "widths": MAX_WIDTH}


class PointM2AEConfig(TrunkConfig):
    """Point-M2AE (NeurIPS 2022): three stages of 5 blocks with local attention, pre-trained on ShapeNet.

    Groups and head are by default those of pre-training and of the authors' ModelNet40 models; their ScanObjectNN
    models take groups of 32, 16, 16 and join `patch-mean` and `rest-max`.
    """

    title: ClassVar[str] = "Point-M2AE (12.8 M)"
    source: ClassVar[Source] = Source(
        layout="hub/point-m2ae-base.pretrain.renrui-zhang",
        repository="torch-pointcloud/point-m2ae-base.pretrain.renrui-zhang",
        revision="8e22a423991a9a5c4be3f53d52d8e598239d10b9",
        homepage="https://github.com/ZrrSkywalker/Point-M2AE",
        layouts=("hub/point-m2ae-base",),
        caveat="The final norm is not in the file: the published classifiers start it as the identity, and so is it "
        "here. Of the authors' own files (.pth) the names were not seen; the copies on the Hub load.",
    )
    kind: Literal["point-m2ae"] = "point-m2ae"
    groups: tuple[int, int, int] = Field(default=(512, 256, 64), description="tokens of each stage (G)")
    group_sizes: tuple[int, int, int] = Field(
        default=(16, 8, 8), description="points, then tokens of the stage before, that make one token (K)"
    )
    radii: tuple[float, float, float] = Field(
        default=(0.32, 0.64, 1.28),
        description="tokens attend to those nearer than this, in units of the cloud; 0: to all",
    )
    skip_origin: bool = Field(
        default=False,
        description="as the published CUDA sampler: points within 0.0316 of the origin are never chosen as centres",
    )
    dims: tuple[int, int, int] = Field(default=(96, 192, 384), description="token width of each stage (D)")
    depths: tuple[int, int, int] = Field(default=(5, 5, 5), description="transformer blocks of each stage")
    heads: int = Field(default=6, ge=1, le=64, description="attention heads")
    mlp_ratio: float = Field(default=4.0, gt=0, le=16, description="hidden width of the feed-forward part over D")
    widths: tuple[int, int, int] = Field(
        default=(128, 256, 512), description="hidden widths of the first stage's mini-PointNet"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> PointM2AEConfig:
        for name, most in _MOST.items():
            if not all(1 <= value <= most for value in getattr(self, name)):
                raise ValueError(f"each of {name} must be at least 1 and at most {most}")
        if not all(0 <= radius < float("inf") for radius in self.radii):
            raise ValueError(f"radii must be finite and not negative, not {self.radii}")
        for dim in self.dims:
            if dim % self.heads:
                raise ValueError(f"each of dims must be a multiple of heads {self.heads}, not {dim}")
        for stage, (before, after) in enumerate(pairwise(self.groups), start=1):
            if max(after, self.group_sizes[stage]) > before:
                raise ValueError(
                    f"stage {stage} cannot make {after} groups of {self.group_sizes[stage]} from {before} tokens"
                )
        return self

    @property
    def least_points(self) -> int:
        return max(self.groups[0], self.group_sizes[0])

    @property
    def shape(self) -> TrunkShape:
        return TrunkShape(
            title=self.title,
            blocks=tuple(
                BlockShape(f"stages.{stage}.blocks.{i}", dim, self.heads, int(dim * self.mlp_ratio))
                for stage, (dim, depth) in enumerate(zip(self.dims, self.depths))
                for i in range(depth)
            ),
            embeds=tuple((f"stages.{stage}.patch_embed", dim) for stage, dim in enumerate(self.dims)),
            norms=(("norm", self.dims[-1]),),
            dim=self.dims[-1],
            patches=self.groups[-1],
            fresh=frozenset(),
            insertable=False,
            lead=0,
            levels=(),
            pools=("patch-sum",),
            head="mlp3",
        )

    def build(self, positions: Positions) -> PointM2AE:
        """Return the backbone; positions are added before every block of a stage, as published, for every method."""
        return PointM2AE(self)


class Level(NamedTuple):
    """How one stage groups what is before it: centres (B, G, 3), index (B, G, K) of each group's members."""

    centres: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] - the tuple's own search is never wanted here


class Stage(nn.Module):
    """The parts of one stage; the trunk runs them, because it knows the blocks' names."""

    def __init__(self, config: PointM2AEConfig, number: int, rates: list[float]) -> None:
        super().__init__()
        dim = config.dims[number]
        if number == 0:
            self.patch_embed = PatchEmbed(dim, config.widths)
        else:
            inputs = config.dims[number - 1]
            self.patch_embed = PatchEmbed(dim, (inputs, inputs, dim), inputs=inputs)
        self.pos_embed = nn.Sequential(nn.Linear(3, dim), nn.GELU(), nn.Linear(dim, dim))
        self.blocks = nn.ModuleList(Block(dim, config.heads, config.mlp_ratio, rate, config.qkv_bias) for rate in rates)


class PointM2AE(Trunk):
    """Points (B, N, 3) in, tokens (B, G, D) of the last stage out, after the final norm."""

    def __init__(self, config: PointM2AEConfig) -> None:
        super().__init__(config.shape)
        self.config = config
        total = sum(config.depths)
        rates = [config.drop_path * i / max(1, total - 1) for i in range(total)]
        starts = [sum(config.depths[:stage]) for stage in range(len(config.depths))]
        self.stages = nn.ModuleList(
            Stage(config, stage, rates[start : start + depth])
            for stage, (start, depth) in enumerate(zip(starts, config.depths))
        )
        self.norm = nn.LayerNorm(config.dims[-1])
        initialise(self)

    def group(self, points: Tensor) -> tuple[Tensor, tuple[Level, ...]]:
        """Return (patches (B, G_0, K_0, 3) relative to their centres, the grouping of each stage)."""
        config = self.config
        if points.shape[1] < config.least_points:
            raise UserError(
                "A cloud has too few points for this backbone",
                got=points.shape[1],
                expected=f"at least {config.least_points} ({config.groups[0]} groups of {config.group_sizes[0]})",
                remedy="Use a denser cloud or a backbone with fewer groups",
            )
        levels: list[Level] = []
        below = points
        for groups, size in zip(config.groups, config.group_sizes):
            found = group(below, groups, size, skip_origin=config.skip_origin)
            levels.append(Level(found.centres, found.index))
            below = found.centres
        return _members(points, levels[0].index) - levels[0].centres[:, :, None], tuple(levels)

    def places(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        patches, levels = self.group(inputs)
        return self.encode(patches, levels), levels[-1].centres

    def encode(self, patches: Tensor, levels: tuple[Level, ...]) -> Tensor:
        """Return the tokens (B, G, D) of grouped points; see `group`."""
        x = patches
        for number, (stage, level) in enumerate(zip(self.stages, levels)):
            assert isinstance(stage, Stage)
            sparing = (True,) if self.recomputed else ()
            x = tuned(stage.patch_embed, x if number == 0 else _members(x, level.index), *sparing)
            position = stage.pos_embed(level.centres)
            seen = within(level.centres, self.config.radii[number])
            for i, block in enumerate(stage.blocks):
                x = self.run(f"stages.{number}.blocks.{i}", block, x + position, seen)
        return tuned(self.norm, x)


def _members(values: Tensor, index: Tensor) -> Tensor:
    """Return values (B, L, C) at index (B, G, K): (B, G, K, C)."""
    return values[torch.arange(len(values), device=values.device)[:, None, None], index]


@torch.no_grad()
def within(centres: Tensor, radius: float) -> Tensor | None:
    """Return which centres (B, G, 3) are nearer to each other than `radius`: (B, 1, G, G) bool; None for radius 0.

    From coordinate differences: the expanded product, which cancels, could part a centre from itself.
    """
    if radius == 0:
        return None
    return (torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist") < radius)[:, None]
