"""BitFit and norm tuning: no new parameters, only some of the backbone's own train."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ..models.trunk import TrunkShape
from .method import Method, MethodConfig, PlainMethodConfig
from .probe import ProbeConfig


class BitFitConfig(PlainMethodConfig):
    """Train the biases of the blocks, or of the whole backbone."""

    title: ClassVar[str] = "BitFit"
    source: ClassVar[str] = "BitFit (ACL 2022), section 3"
    kind: Literal["bitfit"] = "bitfit"
    where: Literal["blocks", "all"] = Field(
        default="blocks", description="biases of the transformer blocks, or all of them"
    )

    def folded(self) -> MethodConfig:
        return ProbeConfig()

    def build(self, shape: TrunkShape) -> Method:
        return BitFit(self, shape)


class BitFit(Method):
    def __init__(self, config: BitFitConfig, shape: TrunkShape) -> None:
        super().__init__(config.trained_token(shape))
        self.below = tuple(f"{block.name}." for block in shape.blocks) if config.where == "blocks" else ("",)

    def tunes(self, name: str) -> bool:
        return super().tunes(name) or (name.endswith(".bias") and name.startswith(self.below))


class NormTuningConfig(PlainMethodConfig):
    """Train the scales and shifts of the layer norms in the blocks and at the end."""

    title: ClassVar[str] = "Norm tuning"
    source: ClassVar[str] = "the norms that Adapter-X (arXiv 2406.03051) trains per block, alone"
    kind: Literal["norm-tuning"] = "norm-tuning"

    def folded(self) -> MethodConfig:
        return ProbeConfig()

    def build(self, shape: TrunkShape) -> Method:
        return NormTuning(self, shape)


class NormTuning(Method):
    def __init__(self, config: NormTuningConfig, shape: TrunkShape) -> None:
        super().__init__(config.trained_token(shape))
        inner = [f"{block.name}.{norm}" for block in shape.blocks for norm in ("norm1", "norm2")]
        self.below = tuple(f"{name}." for name in (*inner, *dict(shape.norms)))

    def tunes(self, name: str) -> bool:
        return super().tunes(name) or name.startswith(self.below)
