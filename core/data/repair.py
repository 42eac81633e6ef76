"""What is mended while a data set is read: bad inputs and copies left out, parts made anew; each leaves a note."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import UserError
from .clouds import Clouds
from .config import CopyRepairs, Repairs
from .dataset import Split
from .facts import groups_of_copies, pixel_hash
from .images import Images
from .split import Parts, hold_out_test


def repaired(parts: Parts, repair: CopyRepairs, seed: int) -> Parts:
    """Return `parts` as `repair` says, with a note for all that was done. `seed` is that of the split.

    Bad clouds go first, then the parts are made anew, then copies go: so no copy crosses a new border either.
    UserError where nothing would be left.
    """
    if isinstance(repair, Repairs) and repair.drop_bad:
        parts = _without_bad(parts)
    if repair.resplit is not None:
        parts = _resplit(parts, repair.resplit, seed)
    return parts if repair.copies == "keep" else _without_copies(parts, across_only=repair.copies == "across")


def _named(parts: Parts) -> dict[str, Split]:
    """The parts that there are, those first whose copies stay."""
    found = {"test": parts.test, "validation": parts.validation, "train": parts.train}
    return {name: part for name, part in found.items() if part is not None}


def _kept(parts: Parts, keep: dict[str, np.ndarray], what: str) -> Parts:
    """Return the inputs whose mark in `keep` is set, with a note of how many of which part were left out."""
    named = _named(parts)
    lost = {name: int((~marks).sum()) for name, marks in keep.items()}
    if not any(lost.values()):
        return replace(parts, notes=(*parts.notes, f"repair: no {what} was found"))
    left = {name: part.take(np.flatnonzero(keep[name])) for name, part in named.items()}
    if not len(left["train"]):
        raise UserError(f"No training input is left without {what}", got=lost["train"], remedy="Do not leave them out")
    told = ", ".join(f"{count} of {len(named[name])} of {name}" for name, count in lost.items() if count)
    note = f"repair: {what} left out: {told}"
    return replace(
        parts,
        train=left["train"],
        validation=left.get("validation"),
        test=left.get("test"),
        notes=(*parts.notes, note),
    )


def _without_bad(parts: Parts) -> Parts:
    keep: dict[str, np.ndarray] = {}
    for name, part in _named(parts).items():
        if not isinstance(part, Clouds):
            return parts
        keep[name] = np.ptp(part.points, axis=1).max(axis=1) > 1e-6 * np.abs(part.points).max(axis=(1, 2))
    if all(marks.all() for marks in keep.values()):
        return parts
    return _kept(parts, keep, "clouds whose points lie in one place")


def _resplit(parts: Parts, share: float, seed: int) -> Parts:
    named = _named(parts)
    order = [part for name in ("train", "validation", "test") if (part := named.get(name)) is not None]
    told = " + ".join(f"{len(named[name])} {name}" for name in ("train", "validation", "test") if name in named)
    note = f"repair: the parts ({told}) were put together and split anew"
    whole = replace(parts, train=_joined(order), validation=None, test=None, notes=(*parts.notes, note))
    return hold_out_test(whole, share, seed)


def _joined(parts: list[Split]) -> Split:
    clouds = [part for part in parts if isinstance(part, Clouds)]
    if clouds:
        forms = [part.forms for part in clouds]
        return Clouds(
            np.concatenate([part.points for part in clouds]),
            np.concatenate([part.labels for part in clouds]),
            tuple(name for part in clouds for name in part.names),
            tuple(form for each in forms for form in each),
        )
    images = [part for part in parts if isinstance(part, Images)]
    pixels = [part.pixels for part in images]
    kept = [one for one in pixels if one is not None]
    if kept and len(kept) < len(pixels):  # one part in memory, another too large for it
        kept = []
    return replace(
        images[0],
        files=tuple(file for part in images for file in part.files),
        labels=np.concatenate([part.labels for part in images]),
        names=tuple(name for part in images for name in part.names),
        hashes=tuple(one for part in images for one in part.hashes),
        pixels=np.concatenate(kept) if kept else None,
    )


def _without_copies(parts: Parts, across_only: bool) -> Parts:
    named = _named(parts)
    where = [(name, i) for name, part in named.items() for i in range(len(part))]
    keep = {name: np.ones(len(part), bool) for name, part in named.items()}
    forms: list[np.ndarray | str | None] = [form for part in named.values() for form in _forms(part)]
    for group in groups_of_copies(forms):
        first, _ = where[group[0]]
        for member in group[1:]:
            name, i = where[member]
            if name != first or not across_only:
                keep[name][i] = False
    return _kept(parts, keep, "copies of inputs in another part" if across_only else "copies of other inputs")


def _forms(part: Split) -> list[np.ndarray | str | None]:
    if isinstance(part, Clouds):
        return list(part.forms) if part.forms else [None] * len(part)
    if isinstance(part, Images):
        return [pixel_hash(part.square(i)) for i in range(len(part))]
    return [None] * len(part)
