"""What a method of fine-tuning is: trainable modules, a table of (operation, delta), and which backbone parts train."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from ..errors import UserError
from ..models.head import Part
from ..models.trunk import Positions, TrunkShape
from ..models.tuned import Delta
from ..schema import Config

SlicePhase = Literal["first", "second"]


class MethodConfig(Config):
    """Base of every method's settings. Class attributes say how the method was published."""

    title: ClassVar[str]
    source: ClassVar[str] = ""
    positions: ClassVar[Positions] = "every-block"

    def check(self, shape: TrunkShape) -> None:
        """Raise UserError where the method cannot work on a backbone of this shape."""

    def build(self, shape: TrunkShape) -> Method:
        """Return the method's trainable modules for a backbone of this shape, which `check` has accepted."""
        raise NotImplementedError

    def build_for_levels(self, shape: TrunkShape) -> Method:
        """Return the modules for a head that reads `shape.levels`, as segmentation does."""
        return self.build(shape)

    def folded(self) -> MethodConfig:
        """Return what remains of the method when all that can be folded into the backbone has been."""
        raise UserError(
            f"Nothing of {self.title} can be folded into the backbone: its updates depend on what they see",
            remedy="Use the adapter as it is",
        )

    def head_parts(self, shape: TrunkShape) -> tuple[Part, ...]:
        """Return what the published head joins."""
        return shape.pools

    def level_pools(self, shape: TrunkShape) -> tuple[Part, ...]:
        """Return what a head that reads `shape.levels` knows of the whole input (Point-MAE's segmentation)."""
        return ("patch-max", "patch-mean")


class PlainMethodConfig(MethodConfig):
    """Base of methods that were published both with and without training the class token."""

    train_cls: bool = Field(
        default=False, description="also train the class token, in point-cloud transformers that have one"
    )

    def trained_token(self, shape: TrunkShape) -> frozenset[str]:
        """Return the class token's parameters if they train."""
        return shape.fresh if self.train_cls else frozenset()


class Method(nn.Module):
    """Trainable modules and the rows that attach them. The base trains `tuned_names` of the backbone."""

    def __init__(self, tuned_names: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.tuned_names = tuned_names

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        """Yield (name of an operation of the backbone, delta)."""
        yield from ()

    def tunes(self, name: str) -> bool:
        """Return whether the backbone's own parameter `name` is trained."""
        return name in self.tuned_names

    def runs_once(self) -> frozenset[str]:
        """Return the blocks whose deltas must not run again in a backward pass: they keep statistics."""
        return frozenset()

    def begin_step(self, rng: np.random.Generator) -> None:
        """Prepare for one training step; all that is random in it may come from `rng` only, so that runs can resume."""

    def see_slices(self, phase: SlicePhase | None) -> None:
        """Say that the next passes are slices of one batch, which is seen twice: first without gradients, to learn what
        only the whole batch tells, then with them. None: passes are batches again.
        """

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss after a forward pass, or None; slices' weigh as their sizes do."""
        return None


def with_prompts(shape: TrunkShape, part: Part) -> tuple[Part, ...]:
    """Return the published head's parts with the pooled prompts behind the class token.

    So it was published in 3D. On images no publication says; without it the last block's prompt would not be read.
    """
    token: tuple[Part, ...] = ("cls",) if shape.lead else ()
    return (*token, part, *(other for other in shape.pools if other != "cls"))
