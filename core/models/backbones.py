"""The backbones by name: each a transformer of known sizes and a file its weights come from.

Adding a backbone is one class here and its name in the union below.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Union

from pydantic import Field

from .point_transformer import PointTransformerConfig
from .source import Source


class DemoBackboneConfig(PointTransformerConfig):
    """A small transformer pre-trained by this project on generated shapes; ships with the package, needs no network."""

    title: ClassVar[str] = "Demo (2.8 M, ships with Pointsmith)"
    source: ClassVar[Source] = Source(layout="pointsmith", asset="demo_backbone.safetensors")
    kind: Literal["demo"] = "demo"
    drop_path: float = Field(
        default=0.05, ge=0.0, lt=1.0, description="stochastic depth of the last block; earlier ones less"
    )
    dim: int = 192
    depth: int = 6
    heads: int = 3
    widths: tuple[int, int, int] = (64, 128, 256)


class PointMAEConfig(PointTransformerConfig):
    """Point-MAE (ECCV 2022): 12 blocks of 384, pre-trained on ShapeNet by masked autoencoding."""

    title: ClassVar[str] = "Point-MAE (22.1 M)"
    source: ClassVar[Source] = Source(
        layout="hub/point-mae-base.pretrain.yatian-pang",
        repository="torch-pointcloud/point-mae-base.pretrain.yatian-pang",
        revision="29921d9f3f4eb70ef01ade99a9534af7022c3648",
        homepage="https://github.com/Pang-Yatian/Point-MAE/releases (pretrain.pth)",
    )
    kind: Literal["point-mae"] = "point-mae"


class OwnBackboneConfig(PointTransformerConfig):
    """A transformer of any size from a file of yours (`pointsmith pretrain` makes one) or from random weights."""

    title: ClassVar[str] = "Your own"
    source: ClassVar[Source] = Source(layout="pointsmith")
    kind: Literal["own"] = "own"
    weights: str = Field(default="random", description="`random`, or a path to .safetensors or .pth")


BackboneConfig = Annotated[Union[DemoBackboneConfig, PointMAEConfig, OwnBackboneConfig], Field(discriminator="kind")]
