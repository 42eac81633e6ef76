"""AdaptFormer: a scaled bottleneck in parallel to the feed-forward part (NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from ..models.trunk import TrunkShape
from ..models.tuned import Delta
from .bottleneck import Activation, Bottleneck
from .method import Method, PlainMethodConfig


class AdaptFormerConfig(PlainMethodConfig):
    """A bottleneck beside the feed-forward part, fed with what enters the second norm, its answer times `scale`."""

    title: ClassVar[str] = "AdaptFormer"
    source: ClassVar[str] = "AdaptFormer (NeurIPS 2022), section 3.2"
    kind: Literal["adaptformer"] = "adaptformer"
    rank: int = Field(default=64, ge=1, le=1024, description="width of the bottleneck")
    scale: float = Field(default=0.1, gt=0, le=100, description="factor on the bottleneck's answer")
    activation: Activation = Field(default="relu", description="non-linearity inside")
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="dropout inside while training")

    def build(self, shape: TrunkShape) -> Method:
        return AdaptFormer(self, shape)


class ParallelRows(nn.Module):
    """Two rows of one block: take what enters the second norm, add its bottleneck to the feed-forward answer."""

    def __init__(self, config: AdaptFormerConfig, dim: int) -> None:
        super().__init__()
        self.scale = config.scale
        self.bottleneck = Bottleneck(dim, config.rank, activation=config.activation, dropout=config.dropout)
        self._entering: Tensor | None = None

    def put(self, x: Tensor, y: Tensor) -> Tensor:
        self._entering = x
        return y

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        entering, self._entering = self._entering, None
        assert entering is not None, "the second norm of this block did not run"
        return y + self.scale * self.bottleneck(entering)


class AdaptFormer(Method):
    def __init__(self, config: AdaptFormerConfig, shape: TrunkShape) -> None:
        super().__init__(config.trained_token(shape))
        self.names = [block.name for block in shape.blocks]
        self.blocks = nn.ModuleList(ParallelRows(config, block.dim) for block in shape.blocks)

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        for name, rows in zip(self.names, self.blocks):
            assert isinstance(rows, ParallelRows)
            yield f"{name}.norm2", rows.put
            yield f"{name}.mlp", rows.add
