"""Probing: the backbone stays as it is, only the head trains."""

from __future__ import annotations

from typing import ClassVar, Literal

from ..models.trunk import TrunkShape
from .method import Method, PlainMethodConfig


class ProbeConfig(PlainMethodConfig):
    """Train the head alone (the papers' "linear probing", whose head has three layers)."""

    title: ClassVar[str] = "Probe"
    source: ClassVar[str] = "DAPT (CVPR 2024), table 1"
    kind: Literal["probe"] = "probe"

    def build(self, shape: TrunkShape) -> Method:
        return Method(self.trained_token(shape))
