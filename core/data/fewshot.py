"""Few-shot folds: N classes with K training clouds each, as published, or drawn from any labelled clouds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from ..errors import UserError
from .class_folders import opened, walk
from .clouds import Clouds
from .config import BaseData, FewShotData
from .dataset import Progress, Split
from .modelnet import stack, whole_number
from .names import MODELNET40
from .pickles import PickledArray, read_pickle
from .split import Parts, require_every_class


def read_fewshot(
    config: FewShotData, read_base: Callable[[BaseData], Parts], *, progress: Progress | None = None
) -> Parts:
    """Return one fold: K training clouds of each of N classes, and its test clouds; labels 0 to N-1.

    `read_base` reads the data set that a fold is drawn from. Raises UserError for a published fold that is missing or
    of another form, and for a data set with too few classes or clouds.
    """
    return _drawn(config, read_base(config.base_data())) if config.base else _published(config, progress)


def _drawn(config: FewShotData, base: Parts) -> Parts:
    """Draw a fold: the seed and the fold's number alone decide which classes and which clouds."""
    train, test = base.train, base.test
    if not isinstance(train, Clouds) or not isinstance(test, Clouds):
        raise UserError(
            f"The data `{config.base_data().kind}` have no test clouds",
            remedy="Few-shot folds are tested on the test part: give one in data.base",
        )
    enough = [
        label
        for label in range(len(base.classes))
        if (train.labels == label).sum() >= config.shot and (test.labels == label).sum() >= config.queries
    ]
    if len(enough) < config.way:
        raise UserError(
            f"Too few classes have {config.shot} training and {config.queries} test clouds",
            got=len(enough),
            expected=f"{config.way} or more of the {len(base.classes)}",
            remedy="Lower data.way, data.shot or data.queries",
        )
    rng = np.random.default_rng([config.fold_seed, config.fold, config.way, config.shot])
    chosen: list[int] = rng.permutation(enough)[: config.way].tolist()
    parts = {
        name: _pick(part, chosen, count, rng)
        for name, part, count in (("train", train, config.shot), ("test", test, config.queries))
    }
    notes = [*base.notes, f"fold {config.fold}: {', '.join(base.classes[label] for label in chosen)}"]
    if len(enough) < len(base.classes):
        notes.append(f"{len(base.classes) - len(enough)} classes have too few clouds for a fold and are left out")
    classes = tuple(base.classes[label] for label in chosen)
    return Parts(parts["train"], None, parts["test"], classes, tuple(notes))


def _pick(clouds: Clouds, classes: list[int], count: int, rng: np.random.Generator) -> Clouds:
    index = np.concatenate([rng.permutation(np.flatnonzero(clouds.labels == label))[:count] for label in classes])
    picked = clouds.take(index)
    return Clouds(picked.points, np.repeat(np.arange(len(classes)), count), picked.names)


def _published(config: FewShotData, progress: Progress | None) -> Parts:
    path = (config.path or Path()).expanduser()
    name = f"{config.fold}.pkl"
    folder = f"{config.way}way{config.shot}shot"

    def fits(file: PurePosixPath | Path) -> bool:
        return file.name == name and file.parent.name.replace("_", "").lower() == folder

    with opened(path, lambda member: fits(member) or str(member) == name) as root:
        here = root / name
        named_so = path.resolve().name.replace("_", "").lower() == folder
        found = [file for file in walk(root, lambda one: one == name) if fits(file)]
        found = found or ([here] if named_so and here.is_file() else [])
        if len(found) != 1:
            raise UserError(
                f"{path} has {'no' if not found else 'more than one'} fold {config.fold} of {config.way} way "
                f"{config.shot} shot",
                expected=f"{config.way}way_{config.shot}shot/{name} (or {folder}/{name})",
            )
        if progress:
            progress(f"reading {found[0].parent.name}/{name}", 0, 1)
        parts, originals = _read_fold(found[0], config)
    require_every_class(parts["train"], [str(label) for label in range(config.way)], "train", least=config.shot)
    classes = _names(originals)
    notes = [f"fold {config.fold} as published: {', '.join(classes)}"]
    return Parts(parts["train"], None, parts["test"], classes, tuple(notes))


def _read_fold(file: Path, config: FewShotData) -> tuple[dict[str, Split], list[int]]:
    """Return ({part: clouds}, original label of each class) of a pickled fold, opened without running it."""
    originals = [-1] * config.way
    parts: dict[str, Split] = {}
    try:
        content = read_pickle(file)
        for part in ("train", "test"):
            items: Any = cast("dict[str, Any]", content).get(part) if isinstance(content, dict) else None
            if not isinstance(items, list) or not items:
                raise ValueError(f"it has no list {part}")
            clouds, labels = _items(cast("list[Any]", items), config.way, originals)
            points = stack(clouds, file.stat().st_size)
            names = tuple(f"{file.parent.name}/{file.stem}/{part}[{i}]" for i in range(len(points)))
            parts[part] = Clouds(points, np.array(labels, np.int64), names)
    except ValueError as error:
        raise UserError(
            f"{file.name} cannot be read: {error}",
            expected="a pickled dict of train and test, lists of (points, label, original label)",
        ) from error
    return parts, originals


def _items(items: list[Any], way: int, originals: list[int]) -> tuple[list[np.ndarray], list[int]]:
    """Return (clouds, labels) of one list of a fold and note each class's original label in `originals`."""
    clouds: list[np.ndarray] = []
    labels: list[int] = []
    for item in items:
        match item:
            case (PickledArray() as points, given, original):
                label = whole_number(given)
            case _:
                raise ValueError("it has an item that is not (points, label, original label)")
        if not 0 <= label < way:
            raise ValueError(f"it has the label {label}, of {way} classes")
        if originals[label] not in (-1, whole_number(original)):
            raise ValueError(f"its label {label} stands for two classes")
        originals[label] = whole_number(original)
        clouds.append(points.array)
        labels.append(label)
    return clouds, labels


def _names(originals: list[int]) -> tuple[str, ...]:
    """Return the classes' names: the published folds are of ModelNet40."""
    if len(set(originals)) == len(originals) and all(0 <= label < len(MODELNET40) for label in originals):
        return tuple(MODELNET40[label] for label in originals)
    return tuple(f"class {label}" for label in range(len(originals)))
