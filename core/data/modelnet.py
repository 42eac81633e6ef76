"""ModelNet40 in its four releases: the papers' caches, the HDF5 files, the resampled text clouds, the CAD meshes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np

from ..errors import UserError
from .class_folders import opened, walk
from .clouds import Clouds
from .config import ModelNet40Data
from .dataset import Progress
from .h5 import check_labels, read_file
from .modelnet_files import Listed, read_listed
from .names import MODELNET10, MODELNET40
from .pickles import PickledArray, read_pickle
from .root import inside, require_confined
from .split import Parts, require_every_class

_SIZES = {"modelnet40": {(9843, 2468), (9840, 2468)}, "modelnet10": {(3991, 908)}}
"""Objects in training and test; the HDF5 release of ModelNet40 lacks three."""
_CACHE = re.compile(r"modelnet(?:40|10)_(train|test)_(\d+)pts_fps\.dat")
_PARTS = ("train", "test")


def read_modelnet40(config: ModelNet40Data, *, progress: Progress | None = None) -> Parts:
    """Return the official training and test part with all points of each cloud, not yet normalised.

    Which release is read is told by what lies in the folder, and said in the notes. Raises UserError for a folder of
    none of the layouts and for files that are missing, broken or of another form.
    """
    path = config.path.expanduser()
    with opened(path, _wanted) as root:
        layout, place = _recognise(root, config)
        origin = path if path.is_file() else place
        read = _READERS[layout](place, origin, config, progress)
    classes = MODELNET40
    if config.subset == "modelnet10":
        read, classes = {part: _ten(clouds) for part, clouds in read.items()}, MODELNET10
    for part, clouds in read.items():
        check_labels(clouds.labels, classes, f"the {part} part of {config.subset}")
    require_every_class(read["train"], classes, "train")
    notes = [f"{config.subset}: read from {_TITLES[layout]}"]
    found = (len(read["train"]), len(read["test"]))
    if found not in _SIZES[config.subset]:
        train, test = max(_SIZES[config.subset])
        notes.append(
            f"{config.subset} was published with {train} training and {test} test clouds; these files have {found[0]} "
            f"and {found[1]}: results cannot be compared"
        )
    return Parts(read["train"], None, read["test"], classes, tuple(notes))


def _wanted(member: PurePosixPath) -> bool:
    return member.suffix.lower() in (".dat", ".h5", ".txt", ".off") and not member.name.startswith(".")


def _recognise(root: Path, config: ModelNet40Data) -> tuple[str, Path]:
    """Return (layout, the folder that its files lie in), looking three levels deep."""
    folders = [root, *(each for depth in ("*", "*/*", "*/*/*") for each in sorted(root.glob(depth)) if each.is_dir())]
    for layout, fits in _SIGNS.items():
        for folder in folders:
            if config.layout in ("auto", layout) and fits(folder):
                return layout, folder
    raise UserError(
        f"{config.path} is not ModelNet40 in a known layout"
        if config.layout == "auto"
        else f"{config.path} does not hold ModelNet40 in the layout {config.layout}",
        expected="modelnet40_train_8192pts_fps.dat and its test; ply_data_train0.h5 …; modelnet40_shape_names.txt with "
        "modelnet40_train.txt and modelnet40_test.txt; or <class>/train/*.off and <class>/test/*.off",
    )


def _caches(folder: Path) -> dict[str, Path]:
    """Return {part: cache file}, of several the ones with the most points."""
    found: dict[str, tuple[int, Path]] = {}
    for file in folder.glob("modelnet*_fps.dat"):
        fits = _CACHE.fullmatch(file.name)
        if fits and int(fits[2]) > found.get(fits[1], (0, file))[0] and "modelnet10" not in file.name:
            found[fits[1]] = (int(fits[2]), file)
    return {part: file for part, (_, file) in found.items()}


def _hdf5_files(folder: Path, part: str) -> list[Path]:
    listed = folder / f"{part}_files.txt"
    if listed.is_file():
        require_confined(listed, listed.name)
        lines = listed.read_text(encoding="utf-8", errors="replace").split()
        return [folder / PurePosixPath(line).name for line in lines]  # the lists name folders of the authors' machine
    return sorted(folder.glob(f"ply_data_{part}*.h5"))


def _is_text(folder: Path) -> bool:
    return all((folder / f"modelnet40_{name}.txt").is_file() for name in _PARTS)


def _is_meshes(folder: Path) -> bool:
    return any(next((folder / name / "train").glob("*.off"), None) for name in MODELNET10)


_SIGNS: dict[str, Callable[[Path], bool]] = {
    "dat": lambda folder: len(_caches(folder)) == 2,
    "h5": lambda folder: bool(_hdf5_files(folder, "train")) and bool(_hdf5_files(folder, "test")),
    "txt": _is_text,
    "off": _is_meshes,
}
_TITLES = {
    "dat": "the caches of the papers' code (.dat)",
    "h5": "the HDF5 release, 2,048 points a cloud",
    "txt": "the resampled text clouds",
    "off": "the CAD meshes, sampled by area",
}


def _read_dat(folder: Path, origin: Path, config: ModelNet40Data, progress: Progress | None) -> dict[str, Clouds]:
    read: dict[str, Clouds] = {}
    for part, file in _caches(folder).items():
        if progress:
            progress(f"reading {file.name}", len(read), 2)
        read[part] = _cached(file)
    return read


def _cached(file: Path) -> Clouds:
    """Return the clouds of one of the papers' caches: a pickle of [arrays (N, 6), labels], of which nothing is run."""
    require_confined(file, file.name)
    try:
        content = read_pickle(file)
        match content:
            case [list(), list() | PickledArray()]:
                clouds, labels = cast("tuple[list[object], list[object] | PickledArray]", content)
            case _:
                raise ValueError("it is not a list of two lists, clouds and labels")
        arrays = [one.array for one in clouds if isinstance(one, PickledArray)]
        numbers: list[object] = labels.array.reshape(-1).tolist() if isinstance(labels, PickledArray) else labels
        points = stack(arrays, file.stat().st_size)
        whole = np.array([whole_number(one) for one in numbers], np.int64)
        if len(arrays) != len(clouds) or len(whole) != len(points):
            raise ValueError(f"it has {len(clouds)} clouds, {len(arrays)} of them arrays, and {len(whole)} labels")
    except ValueError as error:
        raise UserError(
            f"{file.name} cannot be read: {error}",
            expected="the pickle that the papers' code writes: arrays and labels",
        ) from error
    return Clouds(points, whole, tuple(f"{file.stem}[{i}]" for i in range(len(points))))


def stack(arrays: list[np.ndarray], size: int) -> np.ndarray:
    """Return (S, N, 3) float32 of arrays (N, 3 or more) of one length; ValueError where they differ or are not finite.

    `size` is that of their file: one array that a small file repeats a million times is refused.
    """
    first = arrays[0].shape if arrays else ()
    if len(first) != 2 or first[1] < 3 or any(one.shape != first or one.dtype.kind != "f" for one in arrays):
        raise ValueError(f"its clouds are not float arrays of one shape (N, 3) or (N, 6), the first is {first}")
    if sum(one.nbytes for one in arrays) > size:
        raise ValueError("its clouds claim more bytes than it has")
    points = np.empty((len(arrays), first[0], 3), np.float32)
    for i, one in enumerate(arrays):
        points[i] = one[:, :3]
    if not np.isfinite(points).all():
        raise ValueError("it has NaN or infinite coordinates")
    return points


def whole_number(given: object) -> int:
    """Return a label as a number: the caches store each as an array of one; ValueError for anything else."""
    if isinstance(given, PickledArray) and given.array.size == 1 and given.array.dtype.kind in "iu":
        return int(given.array.reshape(-1)[0])
    if type(given) is int:
        return given
    raise ValueError("it has a label that is no whole number")


def _read_h5(folder: Path, origin: Path, config: ModelNet40Data, progress: Progress | None) -> dict[str, Clouds]:
    read: dict[str, Clouds] = {}
    for part in _PARTS:
        files = _hdf5_files(folder, part)
        found: list[tuple[np.ndarray, np.ndarray, tuple[str, ...]]] = []
        for file in files:
            if progress:
                progress(f"reading {file.name}", len(found), len(files))
            found.append(read_file(file))
        sizes = sorted({points.shape[1] for points, _, _ in found})
        if len(sizes) != 1:
            raise UserError(f"The {part} files of {folder.name} have clouds of different sizes", got=sizes)
        points, labels = (np.concatenate([one[at] for one in found]) for at in (0, 1))
        read[part] = Clouds(points, labels, tuple(name for one in found for name in one[2]))
    return read


def _read_txt(folder: Path, origin: Path, config: ModelNet40Data, progress: Progress | None) -> dict[str, Clouds]:
    listed: dict[str, Listed] = {}
    for part in _PARTS:
        own = folder / f"{config.subset}_{part}.txt"
        own = own if own.is_file() else folder / f"modelnet40_{part}.txt"
        require_confined(own, own.name)
        lines = own.read_text(encoding="utf-8").split()
        named = [(line, line.rpartition("_")[0]) for line in lines]
        strange = [line for line, name in named if name not in MODELNET40]
        if strange:
            raise UserError(f"The {part} list of ModelNet40 names something of no class", got=strange[0])
        kept = [(line, name) for line, name in named if config.subset == "modelnet40" or name in MODELNET10]
        files = [inside(folder, f"{name}/{line}.txt", f"The {part} list of ModelNet40") for line, name in kept]
        listed[part] = Listed(files, [MODELNET40.index(name) for _, name in kept], [line for line, _ in kept])
    return read_listed(listed, origin, config.split_seed, progress)


def _read_off(folder: Path, origin: Path, config: ModelNet40Data, progress: Progress | None) -> dict[str, Clouds]:
    listed: dict[str, Listed] = {}
    classes = [name for name in MODELNET40 if config.subset == "modelnet40" or name in MODELNET10]
    for part in _PARTS:
        found = [(file, name) for name in classes for file in walk(folder / name / part, _is_off)]
        listed[part] = Listed(
            [file for file, _ in found],
            [MODELNET40.index(name) for _, name in found],
            [file.relative_to(folder).as_posix() for file, _ in found],
        )
        if not found:
            raise UserError(f"{config.path} has no meshes of the {part} part", expected=f"<class>/{part}/*.off")
    return read_listed(listed, origin, config.split_seed, progress)


def _is_off(name: str) -> bool:
    return name.lower().endswith(".off")


_READERS: dict[str, Callable[[Path, Path, ModelNet40Data, Progress | None], dict[str, Clouds]]] = {
    "dat": _read_dat,
    "h5": _read_h5,
    "txt": _read_txt,
    "off": _read_off,
}


def _ten(clouds: Clouds) -> Clouds:
    """Return the clouds of ModelNet10's classes, with its labels."""
    label_of = np.array([MODELNET10.index(name) if name in MODELNET10 else -1 for name in MODELNET40])
    check_labels(clouds.labels, MODELNET40, "ModelNet40")
    kept = clouds.take(np.flatnonzero(label_of[clouds.labels] >= 0))
    return Clouds(kept.points, label_of[kept.labels], kept.names)
