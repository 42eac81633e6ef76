"""SSF: a scale and a shift after every operation (NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from ..models.trunk import TrunkShape
from ..models.tuned import Delta
from .method import Method, MethodConfig, PlainMethodConfig
from .probe import ProbeConfig
from .scale_shift import ScaleShift


class SSFConfig(PlainMethodConfig):
    """Scale and shift the answers of norms and linear layers in every block, `ends` also tokens and final norm."""

    title: ClassVar[str] = "SSF"
    source: ClassVar[str] = "SSF (NeurIPS 2022), section 3.2"
    kind: Literal["ssf"] = "ssf"
    ends: bool = Field(default=False, description="also after the patch embedding and after the final norm")

    def folded(self) -> MethodConfig:
        return ProbeConfig()

    def build(self, shape: TrunkShape) -> Method:
        return SSF(self, shape)


class SSF(Method):
    def __init__(self, config: SSFConfig, shape: TrunkShape) -> None:
        super().__init__(config.trained_token(shape))
        self.widths = shape.widths
        if config.ends:
            self.widths |= dict(shape.embeds + shape.norms)
        self.rows = nn.ModuleList(ScaleShift(width) for width in self.widths.values())

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        yield from zip(self.widths, self.rows)
