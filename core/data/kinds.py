"""What a name on disk announces: points or images, and which kind of data set."""

from __future__ import annotations

import zipfile
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from ..errors import UserError
from .archive import require_small_directory
from .files import EXTENSIONS
from .picture import IMAGE_EXTENSIONS

_NOUNS = {"points": "a mesh or point cloud", "images": "an image"}
_LOOKED_AT = 2000


def modality_of(name: str) -> Literal["points", "images"] | None:
    """Return which modality a file is of by its ending; None for an ending of neither."""
    extension = Path(name).suffix[1:].lower()
    return "images" if extension in IMAGE_EXTENSIONS else "points" if extension in EXTENSIONS else None


def require_modality(name: str, wanted: Literal["points", "images"]) -> None:
    """Refuse a file of the other modality, by name; one of neither is left to its reader."""
    found = modality_of(name)
    if found is not None and found != wanted:
        raise UserError(
            f"{name} is {_NOUNS[found]}, and this adapter reads {wanted}",
            remedy=f"Give it {_NOUNS[wanted]}, or choose an adapter trained on {found}",
        )


_Benchmark = Literal["scanobjectnn", "modelnet40", "shapenetpart", "parts"]


def data_kind(path: Path) -> Literal["folder", "h5", "images"] | _Benchmark | None:
    """Return the kind of data set at a path: what most files of a folder or zip are; None where none fits.

    The folders of three benchmarks are known by their authors' file names, and one of labelled points by parts.json.
    """
    extension = path.suffix.lower()
    if path.is_file() and extension in (".h5", ".hdf5"):
        return "h5"
    if path.is_file() and extension in (".csv", ".txt"):
        listed = _listed_modality(path)
        # A list of clouds is a .csv: a .txt of three columns may be a cloud.
        return "images" if listed == "images" else "folder" if listed and extension == ".csv" else None
    if path.is_dir() and (benchmark := _benchmark(path)):
        return benchmark
    if path.is_dir():
        names = (each.name for each in chain(path.glob("*/*"), path.glob("*/*/*"), path.glob("*")))
    elif extension == ".zip" and zipfile.is_zipfile(path):
        require_small_directory(path)
        try:
            with zipfile.ZipFile(path) as archive:
                inside = archive.namelist()
        except (zipfile.BadZipFile, NotImplementedError, OSError):
            return "folder"  # whoever reads it says what is wrong
        if labelled := _labelled({name.rpartition("/")[2] for name in inside}):
            return labelled
        names = iter(inside)
    elif extension == ".zip" and path.is_file():
        return "folder"
    else:
        return None
    found = [modality_of(name) for name in islice(names, _LOOKED_AT)]
    return "images" if found.count("images") > found.count("points") else "folder"


def _benchmark(folder: Path) -> _Benchmark | None:
    """Return which benchmark a folder is, where it is named or filled as its authors did."""
    if any((folder / name).is_dir() for name in ("main_split", "main_split_nobg")):
        return "scanobjectnn"
    if labelled := _labelled({each.name for each in folder.glob("*.*")}):
        return labelled
    signs = ("modelnet40_shape_names.txt", "modelnet40_train_*pts_fps.dat", "ply_data_train0.h5")
    return "modelnet40" if any(next(folder.glob(sign), None) for sign in signs) else None


def _labelled(names: set[str]) -> Literal["shapenetpart", "parts"] | None:
    """Return which data set of labelled points has files of these names."""
    if "synsetoffset2category.txt" in names:
        return "shapenetpart"
    return "parts" if "parts.json" in names else None


def _listed_modality(path: Path) -> Literal["points", "images"] | None:
    """Return what one of the first two lines names, of which one may be a header: a cloud or an image, and a label."""
    with path.open("rb") as file:
        lines = [file.readline(4096).decode("utf-8", "replace").strip() for _ in range(2)]
    if path.suffix.lower() == ".csv":
        rows = [line.split(",")[0] for line in lines if "," in line]
    else:
        rows = [line.rpartition(" ")[0] for line in lines]
    for name in rows:
        if found := modality_of(name.strip(' "')):
            return found
    return None
