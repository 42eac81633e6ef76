"""HDF5 files in ScanObjectNN's layout become clouds, with their coordinates as they are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from .clouds import Clouds
from .dataset import Progress
from .facts import copy_form
from .names import SCANOBJECTNN
from .root import require_confined
from .split import Parts, require_every_class

if TYPE_CHECKING:
    from .config import H5Data  # not at run time: a process that only parses files does without torch

# A file of a few kilobytes may claim terabytes that it holds in compressed or never written chunks.
_RATIO = 250
_SMALL = 16 << 20


def read_h5(config: H5Data, *, least: int = 1, progress: Progress | None = None) -> Parts:
    """Return the clouds of `config.train` and `config.test`, each of `config.preparation.points`, not yet normalised.

    A stored cloud of that many points is taken whole, in its order; of a larger one a seeded random subset is kept,
    and of a smaller one some points come twice; the notes say so. Raises UserError for a file that is missing, cut
    short, or of another layout, and for labels that no class name fits.
    """
    paths = {"train": config.train, "test": config.test}
    raw: dict[str, tuple[np.ndarray, np.ndarray, tuple[str, ...]]] = {}
    repairs: list[str] = []
    for part, path in paths.items():
        if path is not None:
            if progress:
                progress(f"reading {path.name}", len(raw), 2 if config.test else 1)
            raw[part] = read_file(path.expanduser(), finite=not config.repair.drop_bad)
            if config.repair.drop_bad:
                raw[part], told = _finite_only(*raw[part], path.name)
                repairs += told
    classes, notes = _classes(config, [labels for _, labels, _ in raw.values()])
    notes += repairs
    read: dict[str, Clouds] = {}
    for part, (points, labels, names) in raw.items():
        path = paths[part] or config.train
        check_labels(labels, classes, path.name)
        rng = np.random.default_rng([config.split_seed, len(read)])
        sized, note = _sized(points, config.preparation.points, least, path.name, rng)
        notes += note
        forms = () if config.repair.copies == "keep" else tuple(copy_form(cloud) for cloud in points)
        read[part] = Clouds(sized, labels, names, forms)
    require_every_class(read["train"], classes, "train")
    if "test" in read:
        missing = sorted(set(range(len(classes))) - set(read["test"].labels.tolist()))
        if missing:
            notes.append("no test cloud for: " + ", ".join(classes[label] for label in missing))
    if progress:
        progress("reading files", len(raw), len(raw))
    return Parts(read["train"], None, read.get("test"), classes, tuple(notes))


def _finite_only(
    points: np.ndarray, labels: np.ndarray, names: tuple[str, ...], name: str
) -> tuple[tuple[np.ndarray, np.ndarray, tuple[str, ...]], list[str]]:
    sound = np.isfinite(points).all(axis=(1, 2))
    if sound.all():
        return (points, labels, names), []
    kept: list[int] = np.flatnonzero(sound).tolist()
    note = f"repair: {len(points) - len(kept)} clouds of {name} have NaN or infinite coordinates and were left out"
    return (points[sound], labels[sound], tuple(names[i] for i in kept)), [note]


def read_file(path: Path, *, finite: bool = True) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return (points (S, N, 3) float32, labels (S,) int64, names) of one file; UserError with the reason.

    NaN and infinite coordinates are refused too, unless `finite` is off.
    """
    h5py: Any = import_module("h5py")
    name = path.name
    require_confined(path, name)
    if not path.is_file():
        raise UserError("the HDF5 file does not exist", got=str(path), remedy="Check the path")
    try:
        with h5py.File(path, "r") as file:
            points = _array(file, "data", name, path.stat().st_size, lambda a: a.ndim == 3 and a.shape[2] >= 3)
            labels = _array(file, "label", name, path.stat().st_size, lambda a: a.ndim in (1, 2))
            linked = isinstance(file.get("name", getlink=True), (h5py.ExternalLink, h5py.SoftLink))
            stored: Any = None if linked else file.get("name")
            named = isinstance(stored, h5py.Dataset) and stored.shape == points.shape[:1]
            named = named and not stored.is_virtual and not stored.external
            titles = stored[()] if named and stored.nbytes <= max(_SMALL, path.stat().st_size) else None
    except (OSError, RuntimeError, KeyError, MemoryError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{name} cannot be read as HDF5 ({reason})", remedy="It may be damaged or cut short: fetch it again"
        ) from error
    labels = _labels(labels, len(points), name)
    points = points[:, :, :3]
    bad = np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))
    if finite and len(bad):
        raise UserError(
            f"{name} has {len(bad)} clouds with NaN or infinite coordinates, the first is cloud {bad[0]}",
            expected="finite numbers",
        )
    if titles is None:
        names = tuple(f"{path.stem}[{index}]" for index in range(len(points)))
    else:
        names = tuple(title.decode("utf-8", "replace") if isinstance(title, bytes) else str(title) for title in titles)
    return np.ascontiguousarray(points, dtype=np.float32), labels, names


def _array(file: Any, key: str, name: str, size: int, fits: Callable[[Any], bool]) -> np.ndarray:
    h5py: Any = import_module("h5py")
    if key not in file:
        raise UserError(f"{name} has no array {key}", got=sorted(file)[:20], expected="the arrays data and label")
    if isinstance(file.get(key, getlink=True), (h5py.ExternalLink, h5py.SoftLink)):
        raise UserError(f"{name}: {key} is a link", remedy="Store the array in the file itself")
    array = file[key]
    if not isinstance(array, h5py.Dataset) or not array.shape or array.dtype.kind not in "fiu" or not fits(array):
        got = f"{getattr(array, 'dtype', 'a group')} {getattr(array, 'shape', '')}"
        expected = "data (S, N, 3) and label (S,), both numbers"
        raise UserError(f"{name}: {key} has another form", got=got.strip(), expected=expected)
    if array.is_virtual or array.external:
        raise UserError(f"{name}: {key} lies in another file", remedy="Store the array in the file itself")
    if array.nbytes > max(_SMALL, _RATIO * size):
        raise UserError(f"{name}: {key} claims {array.nbytes} bytes in a file of {size}", got=tuple(array.shape))
    if not array.size:
        raise UserError(f"{name}: {key} is empty", got=tuple(array.shape))
    return array[()]


def _labels(labels: np.ndarray, clouds: int, name: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (clouds,):
        raise UserError(f"{name}: label does not fit data", got=tuple(labels.shape), expected=f"({clouds},)")
    whole = labels.astype(np.int64)
    if not np.array_equal(whole, labels):
        raise UserError(f"{name} has labels that are no whole numbers")
    return whole


def check_labels(labels: np.ndarray, classes: tuple[str, ...], name: str) -> None:
    """Refuse labels (S,) beyond the classes; `name` is what the error calls their file."""
    wrong = labels[(labels < 0) | (labels >= len(classes))]
    if len(wrong):
        raise UserError(
            f"{name} has {len(wrong)} labels that no class fits",
            got=int(wrong[0]),
            expected=f"labels from 0 to {len(classes) - 1}, one for each class name",
        )


def _classes(config: H5Data, labels: list[np.ndarray]) -> tuple[tuple[str, ...], list[str]]:
    """Class names from the file named in the config, one beside the data, ScanObjectNN's list, or plain numbers."""
    count = max(int(part.max()) for part in labels) + 1
    beside = config.train.expanduser().parent / "shape_names.txt"
    chosen = config.classes.expanduser() if config.classes else beside if beside.is_file() else None
    if chosen is not None:
        require_confined(chosen, chosen.name)
        try:
            lines = chosen.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError("the file of class names cannot be read", got=str(chosen)) from error
        names = tuple(line.strip() for line in lines if line.strip())
        if len(names) < 2 or len(set(names)) != len(names):
            raise UserError(
                f"{chosen.name} has no usable class names", expected="two or more, all different, one a line"
            )
        return names, [] if config.classes else [f"class names from {chosen.name}"]
    if count == len(SCANOBJECTNN) and "objectdataset" in config.train.name:
        return SCANOBJECTNN, ["class names: ScanObjectNN's"]
    if count < 2:
        raise UserError(f"{config.train.name} has a single class", expected="labels of at least 2 classes")
    if count > sum(len(part) for part in labels):
        raise UserError(f"{config.train.name} has a label larger than its number of clouds", got=count - 1)
    note = "no file of class names: the classes are numbered"
    return tuple(f"class {label}" for label in range(count)), [note]


def _sized(
    points: np.ndarray, count: int, least: int, name: str, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    clouds, have = len(points), int(points.shape[1])
    if have < least:
        raise UserError(
            f"{name} has clouds of too few points",
            got=have,
            expected=f"at least {least}, which the model needs",
            remedy="Use a backbone with fewer groups",
        )
    if have == count:
        return points, []
    if have > count:
        index = np.argsort(rng.random((clouds, have)), axis=1)[:, :count]
        note = f"{name}: a seeded random subset of {count} of each cloud's {have} points"
    else:
        extra = rng.integers(have, size=(clouds, count - have))
        index = np.concatenate([np.broadcast_to(np.arange(have), (clouds, have)), extra], axis=1)
        note = f"{name}: clouds have {have} points, fewer than {count}: some points come twice"
    return np.take_along_axis(points, index[:, :, None], axis=1), [note]
