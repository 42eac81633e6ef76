"""Probing: the backbone stays as it is, only the head trains."""

from __future__ import annotations

from typing import ClassVar, Literal

from ..errors import UserError
from ..models.trunk import TrunkShape
from .method import Method, MethodConfig, PlainMethodConfig


class ProbeConfig(PlainMethodConfig):
    """Train the head alone (the papers' "linear probing", whose head has three layers)."""

    title: ClassVar[str] = "Probe"
    source: ClassVar[str] = "DAPT (CVPR 2024), table 1"
    kind: Literal["probe"] = "probe"

    def folded(self) -> MethodConfig:
        raise UserError("A probe changes nothing in the backbone: there is nothing to fold", remedy="Use it as it is")

    def build(self, shape: TrunkShape) -> Method:
        return Method(self.trained_token(shape))
