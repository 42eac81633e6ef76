"""Files that hold nothing but points: text tables, numpy arrays, PCD and, with an extra, LAS and LAZ."""

from __future__ import annotations

import io
import math
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .archive import check_members
from .pcd import parse_pcd

POINT_EXTENSIONS = frozenset({"xyz", "txt", "csv", "pts", "asc", "pcd", "npy", "npz", "las", "laz"})
_HEADER_LINES = 10


def read_point_file(path: Path, name: str) -> list[np.ndarray]:
    """Return the clouds of a file, each (N, 3) or wider, in the file's own numbers; raises ValueError with the reason.

    Only .npy and .npz hold more than one cloud: an array (B, N, 3) is B of them.
    """
    extension = path.suffix[1:].lower()
    if not path.stat().st_size:
        raise ValueError("the file is empty")
    if extension == "npy":
        with path.open("rb") as stream:
            return _clouds(_read_array(stream, path.stat().st_size))
    if extension == "npz":
        return _clouds(_first_array(path, name))
    if extension in ("las", "laz"):
        return [_read_las(path)]
    data = path.read_bytes()
    return [parse_pcd(data) if extension == "pcd" else parse_table(data.decode("utf-8-sig", "replace"))]


def _read_las(path: Path) -> np.ndarray:
    """Return the points (N, 3) of a LAS or LAZ file in its own coordinates; ValueError names the extra it needs."""
    try:
        laspy: Any = import_module("laspy")
    except ImportError as error:
        raise ValueError("LAS and LAZ need an extra: pip install 'pointsmith[las]'") from error
    with laspy.open(path) as file:
        count, size = int(file.header.point_count), path.stat().st_size
        # A header may promise more points than the file holds; packed ones take a fraction of a byte at least.
        most = size * 50 if path.suffix.lower() == ".laz" else size // int(file.header.point_format.size)
        if count > most:
            raise ValueError(f"it is cut short: {size} bytes cannot hold its {count} points")
        read = file.read()
    return np.stack([np.asarray(read.x), np.asarray(read.y), np.asarray(read.z)], axis=1)


def parse_table(text: str) -> np.ndarray:
    """Return the first three columns (or those that a header calls x, y, z) of a text table as (N, 3) float64.

    Columns are separated by blanks, commas or semicolons (with semicolons a comma is a decimal point); up to ten
    lines may stand before the numbers; further columns are ignored.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    start, columns = _beginning(lines)
    separator = _separator(lines[start])
    rows = lines[start:]
    if separator == ";":
        rows = [line.replace(",", ".") for line in rows]
    return np.loadtxt(rows, delimiter=separator, usecols=columns, ndmin=2, comments="#", quotechar='"')


def _separator(line: str) -> str | None:
    return ";" if ";" in line else "," if "," in line else None


def _cells(line: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(_separator(line))]


def _is_row(line: str) -> bool:
    cells = _cells(line)
    decimal = ";" in line
    try:
        [float(cell.replace(",", ".") if decimal else cell) for cell in cells[:3]]
    except ValueError:
        return False
    return len(cells) >= 3


def _beginning(lines: list[str]) -> tuple[int, tuple[int, ...]]:
    """Return the number of the first row of numbers and the three columns that hold x, y and z."""
    for at, line in enumerate(lines[: _HEADER_LINES + 1]):
        names = [cell.lower() for cell in _cells(line.lstrip("/#; \t"))]
        # A header that names its columns is believed: they may stand in any order, or behind an identifier.
        if {"x", "y", "z"} <= set(names) and at + 1 < len(lines) and len(_cells(lines[at + 1])) == len(names):
            return at + 1, (names.index("x"), names.index("y"), names.index("z"))
        if _is_row(line):
            return at, (0, 1, 2)
    raise ValueError("no line with three numbers was found at its beginning")


def _read_array(stream: BinaryIO, size: int) -> np.ndarray:
    # np.load would first make room for the shape that the header claims; here the claim must fit the file.
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its numpy format version {version} is not supported")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never opened; save a plain float array")
    if dtype.kind not in "fiu":
        raise ValueError(f"it holds {dtype}, expected numbers")
    wanted = math.prod(shape) * dtype.itemsize
    data = stream.read(wanted) if wanted <= size else b""
    if len(data) != wanted:
        raise ValueError(f"it is cut short: shape {shape} of {dtype} needs {wanted} bytes")
    array: np.ndarray = np.frombuffer(data, dtype=dtype)
    return np.reshape(array, shape, order="F" if fortran else "C")


def _first_array(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        for member in check_members(archive, name, max_bytes=4 << 30, max_members=10_000):
            if not member.filename.endswith(".npy"):
                continue
            with archive.open(member) as opened:
                stream = io.BytesIO(opened.read())
            try:
                array = _read_array(stream, member.file_size)
            except ValueError:
                if len(archive.infolist()) == 1:
                    raise
                continue  # names and other things beside the cloud are no fault; what is left decides
            if array.dtype.kind == "f" and array.ndim in (2, 3) and array.shape[-1] >= 3:
                return array
    raise ValueError("it holds no float array of shape (N, 3) or (B, N, 3)")


def _clouds(array: np.ndarray) -> list[np.ndarray]:
    if array.ndim not in (2, 3) or array.shape[-1] < 3:
        raise ValueError(f"its array has shape {array.shape}, expected (N, 3) or (B, N, 3)")
    return [array] if array.ndim == 2 else list(array)
