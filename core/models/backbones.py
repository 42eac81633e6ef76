"""The backbones by name: each a transformer of known sizes and a file its weights come from.

Adding a backbone is one class here and its name in the union below.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Union

from pydantic import Field

from .point_m2ae import PointM2AEConfig
from .point_transformer import PointTransformerConfig
from .source import Source
from .vit import AugRegViTConfig, ViTConfig


class DemoBackboneConfig(PointTransformerConfig):
    """A small transformer pre-trained by this project on generated shapes; ships with the package, needs no network."""

    title: ClassVar[str] = "Demo (2.8 M, ships with Pointsmith)"
    source: ClassVar[Source] = Source(layout="pointsmith", asset="demo_backbone.safetensors")
    kind: Literal["demo"] = "demo"
    drop_path: float = Field(
        default=0.05, ge=0.0, lt=1.0, description="stochastic depth of the last block; earlier ones less"
    )
    dim: int = Field(default=192, ge=8, le=2048, description="token width (D)")
    depth: int = Field(default=6, ge=1, le=48, description="transformer blocks")
    heads: int = Field(default=3, ge=1, le=64, description="attention heads")
    widths: tuple[int, int, int] = Field(default=(64, 128, 256), description="hidden widths of the mini-PointNet")


class PointMAEConfig(PointTransformerConfig):
    """Point-MAE (ECCV 2022): 12 blocks of 384, pre-trained on ShapeNet by masked autoencoding."""

    title: ClassVar[str] = "Point-MAE (22.1 M)"
    source: ClassVar[Source] = Source(
        layout="hub/point-mae-base.pretrain.yatian-pang",
        repository="torch-pointcloud/point-mae-base.pretrain.yatian-pang",
        revision="29921d9f3f4eb70ef01ade99a9534af7022c3648",
        homepage="https://github.com/Pang-Yatian/Point-MAE/releases (pretrain.pth)",
        layouts=("pointmae/pretrain", "pointmae", "hub/point-mae-base", "pointsmith"),
    )
    kind: Literal["point-mae"] = "point-mae"


class PointBERTConfig(PointTransformerConfig):
    """Point-BERT (CVPR 2022): Point-MAE's transformer on tokens of 256, pre-trained to name masked patches.

    The head is Point-MAE's three layers unless `head.kind` says otherwise, as methods of fine-tuning were compared on
    this backbone (DAPT); Point-BERT's own head is `mlp2`.
    """

    title: ClassVar[str] = "Point-BERT (22.1 M)"
    source: ClassVar[Source] = Source(
        layout="hub/point-bert-base.pretrain.xumin-yu",
        repository="torch-pointcloud/point-bert-base.pretrain.xumin-yu",
        revision="d9e0a98afbeb66e1fa465e89687132fe2eb434dd",
        homepage="https://cloud.tsinghua.edu.cn/f/202b29805eea45d7be92/?dl=1 (the authors' file; needs a browser)",
        layouts=("pointbert/pretrain", "pointbert/pretrain-momentum", "pointbert", "hub/point-bert-base"),
        caveat="The names in the authors' own file are known from their code, not from the file. It holds two copies; "
        "the trained one is taken, as their loader does, the momentum copy where there is no other.",
    )
    kind: Literal["point-bert"] = "point-bert"
    token_dim: int | None = Field(
        default=256, ge=1, le=4096, description="output width of the mini-PointNet where it differs from D"
    )


class ReConConfig(PointTransformerConfig):
    """ReCon (ICML 2023): Point-MAE's transformer, pre-trained to rebuild patches and to match images and texts.

    This is the backbone that DAPT and others tune (22.1 M), without the contrast branch of ReCon's own model (43.6 M).
    """

    title: ClassVar[str] = "ReCon (22.1 M)"
    source: ClassVar[Source] = Source(
        layout="recon/pretrain",
        filename="pretrain.pth",
        homepage="https://drive.google.com/file/d/1L-TlZUi7umBCDpZW-1F0Gf4X-9Wvf_Zo",
        layouts=("pointsmith",),
        caveat="The names in the file are known from the authors' code, not from the file; the copy on the Hub "
        "(torch-pointcloud/recon.pretrain.zekun-qi) was not seen. The contrast branch is left out. In ReCon's own "
        "blocks the residual starts behind the norm; here, as in DAPT's ReCon rows, the usual block uses the weights.",
    )
    kind: Literal["recon"] = "recon"


class ACTConfig(PointTransformerConfig):
    """ACT (ICLR 2023): Point-MAE's transformer, pre-trained with a 2D or language transformer as its teacher."""

    title: ClassVar[str] = "ACT (22.1 M)"
    source: ClassVar[Source] = Source(
        layout="act/pretrain",
        filename="pretrain.pth",
        homepage="https://drive.google.com/file/d/1T8bzdJfzdfQtCLu3WU9yDZTgBrLXSDcE",
        layouts=("pointmae", "pointsmith"),
        caveat="The names in the file are known from the authors' code, not from the file; the copy on the Hub "
        "(torch-pointcloud/act.pretrain.runpei-dong) was not seen.",
    )
    kind: Literal["act"] = "act"


class MaskPointConfig(PointTransformerConfig):
    """MaskPoint (ECCV 2022): Point-BERT's transformer, pre-trained to tell real points from noise."""

    title: ClassVar[str] = "MaskPoint (22.1 M)"
    source: ClassVar[Source] = Source(
        layout="maskpoint/pretrain",
        url="https://static.hliu.cc/files/projects/maskpoint/checkpoints/pretrain_shapenet.pth",
        homepage="https://github.com/WisconsinAIVision/MaskPoint (pretrain_shapenet.pth)",
        layouts=("pointbert", "pointsmith"),
        caveat="Names and sizes are known from the authors' code (models/MaskPoint.py, cfgs/pretrain_shapenet.yaml), "
        "not from the file. Of its two copies the trained one is taken. The 3DETR variants do not fit.",
    )
    kind: Literal["maskpoint"] = "maskpoint"
    token_dim: int | None = Field(
        default=256, ge=1, le=4096, description="output width of the mini-PointNet where it differs from D"
    )


class OcCoConfig(PointTransformerConfig):
    """OcCo (ICCV 2021) as Point-BERT's authors compared it: their transformer, pre-trained to complete occluded shapes.

    No weights of it were published. A file of yours with the transformer's plain names (`encoder.first_conv.…`) loads.
    """

    title: ClassVar[str] = "OcCo (22.1 M)"
    source: ClassVar[Source] = Source(
        layout="pointbert",
        layouts=("pointsmith",),
        caveat="OcCo's own repository (hansen7/OcCo) has PointNet, PCN and DGCNN only. Point-BERT's authors put their "
        "transformer into PoinTr's training (Julie-tang00/Point-BERT, issue 43); neither that code nor its weights are "
        "public, so no name in such a file could be verified.",
    )
    kind: Literal["occo"] = "occo"
    token_dim: int | None = Field(
        default=256, ge=1, le=4096, description="output width of the mini-PointNet where it differs from D"
    )


class OwnBackboneConfig(PointTransformerConfig):
    """A transformer of any size from a file of yours (`pointsmith pretrain` makes one) or from random weights."""

    title: ClassVar[str] = "Your own"
    source: ClassVar[Source] = Source(layout="pointsmith")
    kind: Literal["own"] = "own"
    weights: str = Field(default="random", description="`random`, or a path to .safetensors or .pth")


BackboneConfig = Annotated[
    Union[
        DemoBackboneConfig,
        PointMAEConfig,
        PointBERTConfig,
        ReConConfig,
        ACTConfig,
        MaskPointConfig,
        OcCoConfig,
        PointM2AEConfig,
        ViTConfig,
        AugRegViTConfig,
        OwnBackboneConfig,
    ],
    Field(discriminator="kind"),
]
