"""What a method of fine-tuning is: trainable modules, a table of (operation, delta), and which backbone parts train."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from torch import Tensor, nn

from ..models.head import Part
from ..models.point_transformer import PointTransformer
from ..models.tuned import Delta
from ..schema import Config


class MethodConfig(Config):
    """Base of every method's settings. Class attributes say how the method was published."""

    title: ClassVar[str]
    source: ClassVar[str] = ""
    positions: ClassVar[Literal["every-block", "once"]] = "every-block"

    def build(self, trunk: PointTransformer) -> Method:
        """Return the method's trainable modules, sized for `trunk`; UserError where the two cannot go together."""
        raise NotImplementedError

    def head_parts(self) -> tuple[Part, ...]:
        """Return what the published head joins."""
        return ("cls", "patch-max")


class Method(nn.Module):
    """Trainable modules and the rows that attach them. The base adds nothing and trains nothing."""

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        """Yield (name of an operation of the backbone, delta)."""
        yield from ()

    def tunes(self, name: str) -> bool:
        """Return whether the backbone's own parameter `name` is trained."""
        return False

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss after a forward pass, or None."""
        return None


def is_class_token(name: str) -> bool:
    """Return whether a backbone parameter belongs to the class token, which pre-training does not provide."""
    return name in ("cls_token", "cls_pos")
