"""Probing: the backbone stays as it is, only the head trains."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ..models.point_transformer import PointTransformer
from .method import Method, MethodConfig, is_class_token


class ProbeConfig(MethodConfig):
    """Train the head alone (the papers' "linear probing", whose head has three layers)."""

    title: ClassVar[str] = "Probe"
    source: ClassVar[str] = "DAPT (CVPR 2024), table 1"
    kind: Literal["probe"] = "probe"
    train_cls: bool = Field(
        default=False, description="also train the class token, which pre-training does not provide"
    )

    def build(self, trunk: PointTransformer) -> Method:
        return Probe(self.train_cls)


class Probe(Method):
    def __init__(self, train_cls: bool) -> None:
        super().__init__()
        self.train_cls = train_cls

    def tunes(self, name: str) -> bool:
        return self.train_cls and is_class_token(name)
