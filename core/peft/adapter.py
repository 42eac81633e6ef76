"""Serial adapters: a bottleneck behind the feed-forward part, and in Houlsby's form behind attention too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from ..models.trunk import TrunkShape
from ..models.tuned import Delta
from .bottleneck import Activation, Bottleneck
from .method import Method, PlainMethodConfig


class AdapterConfig(PlainMethodConfig):
    """A bottleneck with a residual after the feed-forward part of each block; `both` adds one after attention."""

    title: ClassVar[str] = "Adapter"
    source: ClassVar[str] = "Houlsby et al. (ICML 2019), section 2"
    kind: Literal["adapter"] = "adapter"
    rank: int = Field(default=64, ge=1, le=1024, description="width of the bottleneck")
    places: Literal["mlp", "both"] = Field(
        default="mlp", description="after the feed-forward part, or after attention as well"
    )
    activation: Activation = Field(default="gelu", description="non-linearity inside")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="dropout inside while training")

    def build(self, shape: TrunkShape) -> Method:
        return Adapter(self, shape)


class SerialRow(nn.Module):
    """The delta y to y + bottleneck(y)."""

    def __init__(self, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.bottleneck = bottleneck

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.bottleneck(y)


class Adapter(Method):
    def __init__(self, config: AdapterConfig, shape: TrunkShape) -> None:
        super().__init__(config.trained_token(shape))
        places = ("mlp",) if config.places == "mlp" else ("attn", "mlp")
        self.names = [block.name for block in shape.blocks]
        self.rows = nn.ModuleDict(
            {
                f"{i}-{place}": SerialRow(
                    Bottleneck(block.dim, config.rank, activation=config.activation, dropout=config.dropout)
                )
                for i, block in enumerate(shape.blocks)
                for place in places
            }
        )

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        for key, row in self.rows.items():
            number, place = key.split("-")
            yield f"{self.names[int(number)]}.{place}", row
