"""Any labelled clouds on the Hub: which columns hold points and labels is found by their types and names."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UserError
from .clouds import Clouds
from .config import HubData
from .dataset import Progress
from .h5 import check_labels
from .hub import open_split, read_split
from .split import Parts

_LABELS = ("label", "labels", "target", "class", "category", "y")


def read_hub(config: HubData, *, progress: Progress | None = None) -> Parts:
    """Return the named splits, with all points of each cloud.

    Raises UserError where a split cannot be had, and where it is not clear which column is meant: the error lists what
    there is and which setting answers.
    """
    first = open_split(config.repository, config.train, config.revision)
    inputs = config.inputs or _points_column(first.features, config.repository)
    label = config.label or _label_column(first.features, config.repository)
    names = {"train": config.train, **({"test": config.test} if config.test else {})}
    read: dict[str, Clouds] = {}
    for part, split in names.items():
        points, labels = read_split(config.repository, split, config.revision, progress, (inputs, label))
        if not np.isfinite(points).all():
            bad = int(np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))[0])
            raise UserError(f"{split}[{bad}] of {config.repository} has NaN or infinite coordinates")
        read[part] = Clouds(points, labels, tuple(f"{split}[{i}]" for i in range(len(labels))))
    named: Any = getattr(first.features.get(label), "names", None)
    highest = max(int(clouds.labels.max()) for clouds in read.values())
    classes = tuple(map(str, named)) if named else tuple(f"class {i}" for i in range(highest + 1))
    for part, clouds in read.items():
        check_labels(clouds.labels, classes, f"{names[part]} of {config.repository}")
    notes = [f"{config.repository}: points are the column {inputs}, labels the column {label}"]
    if config.revision is None and not config.repository.startswith(("/", ".", "~")):
        notes.append(f"{config.repository}: the newest revision; pin one with data.revision")
    return Parts(read["train"], None, read.get("test"), classes, tuple(notes))


def _points_column(features: Any, repository: str) -> str:
    """Return the only column whose rows are lists of lists of numbers."""
    found = [name for name, feature in features.items() if _depth(feature) == 2]
    if len(found) != 1:
        raise UserError(
            f"It is not clear which column of {repository} holds the points",
            got=", ".join(features),
            expected="exactly one column of lists of [x, y, z]",
            remedy="Name it as data.inputs",
        )
    return found[0]


def _label_column(features: Any, repository: str) -> str:
    """Return the column that is typed as classes, or is called as labels are."""
    typed = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    found = typed or [name for name in features if name.lower() in _LABELS and _depth(features[name]) == 0]
    if len(found) != 1:
        raise UserError(
            f"It is not clear which column of {repository} holds the labels",
            got=", ".join(features),
            expected=f"one column of classes, or one called {', '.join(_LABELS)}",
            remedy="Name it as data.label",
        )
    return found[0]


def _depth(feature: Any) -> int:
    """Return how many lists are nested in a column's type."""
    if isinstance(feature, list):
        items: list[Any] = feature  # pyright: ignore[reportUnknownVariableType]
        return 1 + _depth(items[0]) if items else 1
    inner: Any = getattr(feature, "feature", None)
    if inner is not None:
        return 1 + _depth(inner)
    shape: Any = getattr(feature, "shape", None)  # Array2D
    return len(shape) if shape else 0
