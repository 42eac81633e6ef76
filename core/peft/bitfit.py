"""BitFit and norm tuning: no new parameters, only some of the backbone's own train."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ..models.point_transformer import PointTransformer
from .method import Method, MethodConfig, is_class_token


class BitFitConfig(MethodConfig):
    """Train the biases of the blocks, or of the whole backbone."""

    title: ClassVar[str] = "BitFit"
    source: ClassVar[str] = "BitFit (ACL 2022), section 3"
    kind: Literal["bitfit"] = "bitfit"
    where: Literal["blocks", "all"] = Field(
        default="blocks", description="biases of the transformer blocks, or all of them"
    )
    train_cls: bool = Field(
        default=False, description="also train the class token, which pre-training does not provide"
    )

    def build(self, trunk: PointTransformer) -> Method:
        return BitFit("blocks." if self.where == "blocks" else "", self.train_cls)


class BitFit(Method):
    def __init__(self, below: str, train_cls: bool) -> None:
        super().__init__()
        self.below, self.train_cls = below, train_cls

    def tunes(self, name: str) -> bool:
        is_bias = name.startswith(self.below) and name.endswith(".bias")
        return is_bias or (self.train_cls and is_class_token(name))


class NormTuningConfig(MethodConfig):
    """Train the scales and shifts of the layer norms in the blocks and at the end."""

    title: ClassVar[str] = "Norm tuning"
    source: ClassVar[str] = "the norms that Adapter-X (arXiv 2406.03051) trains per block, alone"
    kind: Literal["norm-tuning"] = "norm-tuning"
    train_cls: bool = Field(
        default=False, description="also train the class token, which pre-training does not provide"
    )

    def build(self, trunk: PointTransformer) -> Method:
        return NormTuning(self.train_cls)


class NormTuning(Method):
    def __init__(self, train_cls: bool) -> None:
        super().__init__()
        self.train_cls = train_cls

    def tunes(self, name: str) -> bool:
        owner = name.rpartition(".")[0].rpartition(".")[2]
        return owner in ("norm1", "norm2", "norm") or (self.train_cls and is_class_token(name))
