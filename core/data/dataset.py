"""What every data set becomes, clouds or images alike: labelled splits.

Shapes: S inputs in a split, B of them picked; labels int64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from typing_extensions import Self

from .clouds import Preparation
from .picture import ImagePreparation

if TYPE_CHECKING:
    import torch

    from .feed import Feed

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total) while a data set loads."""


class Split(Protocol):
    """One part of a data set. `labels` (S,) int64; `names` tell a person which input is which."""

    noun: ClassVar[str]
    """What its inputs are called, in the plural."""

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def take(self, index: np.ndarray) -> Self:
        """Return the split of the inputs at `index` (B,)."""
        ...

    def digests(self) -> list[bytes]:
        """Return a hash of each input's content."""
        ...

    def feed(self, device: torch.device) -> Feed: ...


@dataclass(frozen=True)
class Dataset:
    """A loaded data set. `validation` is None only where nothing may be chosen on it; `test` where none was given."""

    train: Split
    validation: Split | None
    test: Split | None
    classes: tuple[str, ...]
    preparation: Preparation | ImagePreparation
    fingerprint: str
    part_names: tuple[tuple[str, ...], ...] = ()
    """The parts of each class's objects, where points are labelled; parts are numbered through all classes."""
    notes: tuple[str, ...] = field(default=())
    """What the reader did that the user should know: files skipped and why, clouds topped up, splits made."""
