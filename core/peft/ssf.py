"""SSF: a scale and a shift after every operation (NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from ..models.point_transformer import PointTransformer
from ..models.tuned import Delta
from .method import Method, MethodConfig, is_class_token
from .scale_shift import ScaleShift, block_widths


class SSFConfig(MethodConfig):
    """Scale and shift the answers of norms and linear layers in every block, `ends` also tokens and final norm."""

    title: ClassVar[str] = "SSF"
    source: ClassVar[str] = "SSF (NeurIPS 2022), section 3.2"
    kind: Literal["ssf"] = "ssf"
    ends: bool = Field(default=False, description="also after the patch embedding and after the final norm")
    train_cls: bool = Field(
        default=False, description="also train the class token, which pre-training does not provide"
    )

    def build(self, trunk: PointTransformer) -> Method:
        return SSF(self, trunk)


class SSF(Method):
    def __init__(self, config: SSFConfig, trunk: PointTransformer) -> None:
        super().__init__()
        self.train_cls = config.train_cls
        dim = trunk.config.dim
        self.widths = block_widths(trunk)
        if config.ends:
            self.widths |= {"patch_embed": dim, "norm": dim}
        self.rows = nn.ModuleList(ScaleShift(width) for width in self.widths.values())

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        yield from zip(self.widths, self.rows)

    def tunes(self, name: str) -> bool:
        return self.train_cls and is_class_token(name)
