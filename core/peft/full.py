"""Full fine-tuning: every parameter of the backbone trains."""

from __future__ import annotations

from typing import ClassVar, Literal

from ..models.trunk import TrunkShape
from .method import Method, MethodConfig
from .probe import ProbeConfig


class FullConfig(MethodConfig):
    """Train everything: the reference the adapters are measured against; the result is as large as the backbone."""

    title: ClassVar[str] = "Full fine-tuning"
    source: ClassVar[str] = "Point-MAE (ECCV 2022), section 4.2"
    kind: Literal["full"] = "full"

    def folded(self) -> MethodConfig:
        return ProbeConfig()

    def build(self, shape: TrunkShape) -> Method:
        return Full()


class Full(Method):
    def tunes(self, name: str) -> bool:
        return True
