"""A data set's config becomes the data set: read, split, normalised, checked and fingerprinted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..errors import UserError
from .clouds import Clouds, Preparation, normalize, upright
from .config import (
    BenchmarkData,
    DataConfig,
    DemoData,
    FewShotData,
    FolderData,
    HubData,
    ImagesData,
    ModelNet40Data,
    PartFolderData,
    PointData,
    ScanObjectNNData,
    ShapeNetPartData,
    VtabData,
)
from .dataset import Dataset, Progress, Split
from .fewshot import read_fewshot
from .folder import read_folder
from .h5 import read_h5
from .hub_set import read_hub
from .images import read_images
from .modelnet import read_modelnet40
from .part_clouds import PartClouds, judged
from .part_folder import read_part_folder
from .picture import ImagePreparation
from .procedural import CLASSES, demo_faults, make_split
from .repair import repaired
from .scanobjectnn import read_scanobjectnn
from .shapenetpart import read_shapenetpart
from .split import Parts, hold_out_validation, require_every_class
from .thin import Use, thinned
from .vtab import read_vtab

Reader = Callable[[DataConfig, int, "Progress | None"], Parts]
"""As `read` below: (config, the fewest points a cloud may have, progress) -> the parts."""


def load(
    config: DataConfig,
    *,
    least: int = 1,
    progress: Progress | None = None,
    pooled_test: bool = False,
    reader: Reader | None = None,
) -> Dataset:
    """Return the data set that `config` describes, ready for a model that needs `least` points a cloud.

    The validation part is cut from the training part, stratified and seeded, unless one was given or the share is 0;
    the test part is touched by no choice. The same config and files give the same arrays, bit for bit.
    With `pooled_test` the test clouds of a benchmark are larger, for voting: their first `preparation.points` points
    are the usual test cloud, of which the fingerprint tells. `reader` opens the files; none: `read`. Raises UserError.
    """
    if isinstance(config, PointData) and config.preparation.points < least:
        raise UserError(
            "preparation.points is smaller than the model needs",
            got=config.preparation.points,
            expected=f"at least {least}",
        )
    parts = (reader or read)(config, least, progress)
    if not isinstance(config, VtabData):
        parts = hold_out_validation(parts, config.validation, config.split_seed)
    for name, part in (("train", parts.train), ("validation", parts.validation)):
        if part is not None and parts.complete:
            require_every_class(part, parts.classes, name)
    train = _ready(parts.train, config, "learn", progress)
    validation = None if parts.validation is None else _ready(parts.validation, config, "judge", progress)
    test = None if parts.test is None else _ready(parts.test, config, "vote" if pooled_test else "judge", progress)
    scored = test
    if pooled_test and isinstance(test, Clouds) and isinstance(config, PointData):
        scored = replace(test, points=test.points[:, : config.preparation.points])
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        classes=parts.classes,
        preparation=config.preparation,
        fingerprint=fingerprint([train, validation, scored], _named(parts), config.preparation),
        part_names=parts.part_names,
        notes=parts.notes,
    )


def _ready(split: Split, config: DataConfig, use: Use, progress: Progress | None) -> Split:
    if not isinstance(split, Clouds) or not isinstance(config, PointData):
        return split
    if isinstance(split, PartClouds):  # normalised when it was read: by all points of a file, each counted once
        return split if use == "learn" else judged(split, config.preparation.points)
    ready = _normalized(split, config.preparation)
    # After normalising: the published code centres and scales a cloud by all of its points.
    return thinned(ready, config, use, progress) if isinstance(config, BenchmarkData) else ready


def read(config: DataConfig, least: int = 1, progress: Progress | None = None) -> Parts:
    """Return what the reader of this kind finds: clouds not yet normalised, those of benchmarks with all points."""
    if isinstance(config, DemoData):
        return _demo(config, progress)
    if isinstance(config, FolderData):
        return repaired(read_folder(config, least=least, progress=progress), config.repair, config.split_seed)
    if isinstance(config, ImagesData):
        return repaired(read_images(config, progress=progress), config.repair, config.split_seed)
    if isinstance(config, VtabData):
        return read_vtab(config, progress=progress)
    if isinstance(config, ScanObjectNNData):
        return read_scanobjectnn(config, progress=progress)
    if isinstance(config, ModelNet40Data):
        return read_modelnet40(config, progress=progress)
    if isinstance(config, HubData):
        return read_hub(config, progress=progress)
    if isinstance(config, ShapeNetPartData):
        return read_shapenetpart(config, progress=progress)
    if isinstance(config, PartFolderData):
        return read_part_folder(config, least=least, progress=progress)
    if isinstance(config, FewShotData):
        return read_fewshot(config, lambda base: read(base, least, progress), progress=progress)
    return repaired(read_h5(config, least=least, progress=progress), config.repair, config.split_seed)


def _demo(config: DemoData, progress: Progress | None) -> Parts:
    made: list[Clouds] = []
    for split in ("train", "test"):
        if progress:
            progress("generating shapes", len(made), 2)
        per_class = config.train_per_class if split == "train" else config.test_per_class
        faults = demo_faults(config.scan)
        points, labels, names = make_split(split, per_class, config.preparation.points, config.seed, faults)
        made.append(Clouds(np.asarray(points, np.float32), np.asarray(labels, np.int64), tuple(names)))
    if progress:
        progress("generating shapes", 2, 2)
    return Parts(made[0], None, made[1], tuple(CLASSES))


def _normalized(clouds: Clouds, preparation: Preparation) -> Clouds:
    points = standing = upright(clouds.points, preparation.up)
    if preparation.normalize != "none":
        points = np.empty(standing.shape, np.float32)
        for i, cloud in enumerate(standing):
            points[i] = normalize(cloud, preparation.normalize)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))
    if len(bad):
        # Finite when read: only coordinates near the end of float32's range overflow when they are normalised.
        raise UserError(
            f"{clouds.names[bad[0]]} has coordinates too large to normalise ({len(bad)} clouds like this)",
            remedy="Scale it down",
        )
    return replace(clouds, points=np.ascontiguousarray(points, dtype=np.float32))


def _named(parts: Parts) -> tuple[str, ...]:
    """Return all names that answers are given in: classes, and the parts of each."""
    inner = (f"{name}/{part}" for name, own in zip(parts.classes, parts.part_names) for part in own)
    return (*parts.classes, *inner)


def fingerprint(
    parts: Sequence[Split | None], classes: tuple[str, ...], preparation: Preparation | ImagePreparation
) -> str:
    """Return sha256, in hex, over every part's inputs and labels (in any order), the classes and the preparation."""
    total = hashlib.sha256()
    for part in parts:
        each = [] if part is None else part.digests()
        total.update(f"{len(each)};".encode())
        for digest in sorted(each):
            total.update(digest)
    total.update("\0".join(classes).encode("utf-8", "surrogateescape"))
    # What was added later counts only where it is used, so that older data sets keep their fingerprints.
    later = {name for name in ("up",) if getattr(preparation, name, "y") == "y"}
    total.update(preparation.model_dump_json(exclude=later).encode())
    return total.hexdigest()
