"""The vision transformer that methods for images are compared on (ViT, ICLR 2021); parameter names are timm's.

Shapes: B images of H x W pixels, G patches, D width, L = 1 + prompts + G tokens.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ..errors import UserError
from .patch_embed import scale_output
from .source import Source
from .transformer import initialise, make_blocks
from .trunk import BlockShape, Modality, Positions, Trunk, TrunkConfig, TrunkShape
from .tuned import tuned

EPS = 1e-6
"""Of every layer norm, as in the published weights' own code."""


class VisionTransformerConfig(TrunkConfig):
    """Sizes of the transformer; the defaults are ViT-B/16 on images of 224 x 224."""

    modality: ClassVar[Modality] = "images"

    qkv_bias: bool = Field(default=True, description="queries, keys and values have a bias, as in the published file")
    image_size: int = Field(default=224, ge=1, le=2048, description="height and width of the images in pixels")
    patch_size: int = Field(default=16, ge=2, le=256, description="height and width of a patch in pixels")
    dim: int = Field(default=768, ge=8, le=2048, description="token width (D)")
    depth: int = Field(default=12, ge=1, le=48, description="transformer blocks")
    heads: int = Field(default=12, ge=1, le=64, description="attention heads")
    mlp_ratio: float = Field(default=4.0, gt=0, le=16, description="hidden width of the feed-forward part over D")

    @model_validator(mode="after")
    def _divisible(self) -> VisionTransformerConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} must be a multiple of patch_size {self.patch_size}")
        return self

    def example_size(self, points: int) -> tuple[int, ...]:
        return (1, 3, self.image_size, self.image_size)

    @property
    def shape(self) -> TrunkShape:
        hidden = int(self.dim * self.mlp_ratio)
        title: Any = getattr(type(self), "title", "a vision transformer")
        return TrunkShape(
            title=title,
            blocks=tuple(BlockShape(f"blocks.{i}", self.dim, self.heads, hidden) for i in range(self.depth)),
            embeds=(("patch_embed", self.dim),),
            norms=(("norm", self.dim),),
            dim=self.dim,
            patches=(self.image_size // self.patch_size) ** 2,
            fresh=frozenset(),  # the file has a class token, and published methods keep it
            insertable=True,
            lead=1,
            levels=(),
            pools=("cls",),
            head="linear",
        )

    def build(self, positions: Positions) -> VisionTransformer:
        """Return the backbone with fresh weights. Positions are added once, before the first block, whatever is asked:
        pre-training did so, and so did every method published on it.
        """
        return VisionTransformer(self)


class ViTConfig(VisionTransformerConfig):
    """ViT-B/16 by Google, pre-trained on ImageNet-21k: the weights that NOAH, PETL-ViT and Adapter-X compare on."""

    title: ClassVar[str] = "ViT-B/16 (85.8 M)"
    source: ClassVar[Source] = Source(
        layout="timm/vit",
        repository="timm/vit_base_patch16_224.orig_in21k",
        homepage="https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz (Google's own file)",
        layouts=("timm/vit",),
        caveat="The Hub file is not pinned: its revision could not be looked up, and its names are known from timm's "
        "code, not from the file.",
    )
    kind: Literal["vit-b16"] = "vit-b16"


class AugRegViTConfig(VisionTransformerConfig):
    """ViT-B/16 by Google with augmentation and regularisation ("How to train your ViT?"): what SSF was published on.

    Other weights than `vit-b16`, so results on the two are not of the same backbone.
    """

    title: ClassVar[str] = "ViT-B/16 AugReg (85.8 M)"
    source: ClassVar[Source] = Source(
        layout="timm/vit",
        repository="timm/vit_base_patch16_224.augreg_in21k",
        homepage="https://github.com/google-research/vision_transformer",
        layouts=("timm/vit",),
        caveat="The Hub file is not pinned: its revision could not be looked up, and its names are known from timm's "
        "code, not from the file. Nothing in a file tells these weights from those of `vit-b16`.",
    )
    kind: Literal["vit-b16-augreg"] = "vit-b16-augreg"


class ImagePatches(nn.Module):
    """Cut images into patches and embed each, (B, 3, H, W) to (B, G, D), row by row."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)

    def absorb(self, gamma: Tensor, beta: Tensor) -> None:
        """Make a scale and a shift (D,) of the tokens part of the projection."""
        scale_output(self.proj, gamma, beta)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class VisionTransformer(Trunk):
    """Images (B, 3, H, W), normalised as the data set says, in; tokens (B, L, D) out, after the final norm."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__(config.shape)
        self.config = config
        dim = config.dim
        self.patch_embed = ImagePatches(dim, config.patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.shape.patches, dim))
        self.tokens = nn.Identity()
        self.blocks = make_blocks(
            dim, config.depth, config.heads, config.mlp_ratio, config.drop_path, config.qkv_bias, EPS
        )
        self.norm = nn.LayerNorm(dim, eps=EPS)
        initialise(self)
        for parameter in (self.cls_token, self.pos_embed, self.patch_embed.proj.weight):
            nn.init.trunc_normal_(parameter, std=0.02)

    def places(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (tokens (B, L, D), centres of the patches (B, G, 3)).

        A centre is (x, y, 0): x to the right and y downwards, both as a share of the image's side. UserError when the
        images are of another size.
        """
        size = self.config.image_size
        if tuple(inputs.shape[1:]) != (3, size, size):
            raise UserError(
                "An image is of another size than this backbone sees",
                got=tuple(inputs.shape[1:]),
                expected=f"(3, {size}, {size})",
                remedy="Resize the images, or change backbone.image_size together with the weights",
            )
        b = inputs.shape[0]
        x = torch.cat([self.cls_token.expand(b, -1, -1), tuned(self.patch_embed, inputs)], dim=1)
        x = tuned(self.tokens, x + self.pos_embed)
        for i, block in enumerate(self.blocks):
            x = self.run(f"blocks.{i}", block, x)
        return tuned(self.norm, x), self._centres(b, inputs.device)

    def _centres(self, batch: int, device: torch.device) -> Tensor:
        side = self.config.image_size // self.config.patch_size
        middle = (torch.arange(side, device=device) + 0.5) / side
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        return torch.stack([x, y, torch.zeros_like(x)], dim=-1).view(1, -1, 3).expand(batch, -1, -1)
