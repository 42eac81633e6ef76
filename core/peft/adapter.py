"""Serial adapters: a bottleneck behind the feed-forward part, and in Houlsby's form behind attention too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from ..models.point_transformer import PointTransformer
from ..models.tuned import Delta
from .bottleneck import Activation, Bottleneck
from .method import Method, MethodConfig, is_class_token


class AdapterConfig(MethodConfig):
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
    train_cls: bool = Field(
        default=False, description="also train the class token, which pre-training does not provide"
    )

    def build(self, trunk: PointTransformer) -> Method:
        return Adapter(self, trunk)


class SerialRow(nn.Module):
    """The delta y to y + bottleneck(y)."""

    def __init__(self, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.bottleneck = bottleneck

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.bottleneck(y)


class Adapter(Method):
    def __init__(self, config: AdapterConfig, trunk: PointTransformer) -> None:
        super().__init__()
        self.train_cls = config.train_cls
        places = ("mlp",) if config.places == "mlp" else ("attn", "mlp")
        self.rows = nn.ModuleDict(
            {
                f"{i}-{place}": SerialRow(
                    Bottleneck(trunk.config.dim, config.rank, activation=config.activation, dropout=config.dropout)
                )
                for i in range(trunk.config.depth)
                for place in places
            }
        )

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        for key, row in self.rows.items():
            number, place = key.split("-")
            yield f"blocks.{number}.{place}", row

    def tunes(self, name: str) -> bool:
        return self.train_cls and is_class_token(name)
