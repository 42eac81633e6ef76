"""The parts of a data set, and how one part is cut from another: stratified by class and seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import UserError
from .dataset import Split


@dataclass(frozen=True)
class Parts:
    """What a reader found: inputs of one size, clouds not yet normalised; a part that was not given is None."""

    train: Split
    validation: Split | None
    test: Split | None
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    part_names: tuple[tuple[str, ...], ...] = ()
    """The parts that the points of each class's objects are labelled with."""
    complete: bool = True
    """Whether every class must be in the training and validation parts; a benchmark's lists are taken as they are."""


def stratified(
    labels: np.ndarray,
    share: float,
    seed: int,
    classes: Sequence[str],
    part: Literal["validation", "test"],
    noun: str = "clouds",
) -> tuple[np.ndarray, np.ndarray]:
    """Return (kept, held): sorted indices into `labels` (S,), with about `share` of every class held, at least one.

    `seed` and `part` alone decide, so the test split and the validation split of one seed are independent.
    A share of 0 holds nothing. Raises UserError, naming the class, where a class cannot give one to each side.
    """
    if share == 0:
        return np.arange(len(labels)), np.arange(0)
    held: list[np.ndarray] = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(
                f"class {name} has too few {noun} to hold some out for the {part}",
                got=len(members),
                expected="at least 2, one for each side",
                remedy=f"Add {noun} to it, or set the share held out for the {part} to 0",
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        # One stream a class: what is added to one class leaves the split of the others as it was.
        rng = np.random.default_rng([seed, ("validation", "test").index(part), label])
        held.append(rng.permutation(members)[:count])
    chosen = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def hold_out_test(parts: Parts, share: float, seed: int) -> Parts:
    """Return `parts` with a stratified test part cut from the training part, where none was given and `share` > 0."""
    if parts.test is not None or share == 0:
        return parts
    kept, held = stratified(parts.train.labels, share, seed, parts.classes, "test", parts.train.noun)
    total = f"{len(parts.train)} {parts.train.noun}"
    note = f"no test part was given: {len(held)} of {total} were held out for it (seed {seed})"
    return replace(parts, train=parts.train.take(kept), test=parts.train.take(held), notes=(*parts.notes, note))


def hold_out_validation(parts: Parts, share: float, seed: int) -> Parts:
    """Return `parts` with a stratified validation part cut from the training part; the test part is not looked at."""
    if parts.validation is not None or share == 0:
        return parts
    kept, held = stratified(parts.train.labels, share, seed, parts.classes, "validation", parts.train.noun)
    note = f"validation: {len(held)} of {len(parts.train)} training {parts.train.noun}, stratified (seed {seed})"
    return replace(parts, train=parts.train.take(kept), validation=parts.train.take(held), notes=(*parts.notes, note))


def require_every_class(split: Split, classes: Sequence[str], part: str, least: int = 1) -> None:
    """Raise UserError, naming the class, unless every class has `least` inputs or more in this part."""
    counts = np.bincount(split.labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if count < least:
            raise UserError(
                f"class {name} has too few {split.noun} in the {part} part",
                got=int(count),
                expected=f"at least {least}",
                remedy=f"Add {split.noun} to it or leave the class out",
            )
