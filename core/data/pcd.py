"""The Point Cloud Library's PCD files: ascii, binary and binary_compressed."""

from __future__ import annotations

import numpy as np

_KINDS = {"F": "f", "I": "i", "U": "u"}


def parse_pcd(data: bytes) -> np.ndarray:
    """Return the x, y, z of a PCD file's `data` as (N, 3) float64.

    In an organised file (HEIGHT > 1) NaN marks a pixel that saw nothing; those points are left out.
    Raises ValueError with the reason for a file that does not hold what its header says.
    """
    header, body = _header(data)
    dtype = _dtype(header)
    width, height = int(header["WIDTH"][0]), int(header.get("HEIGHT", ["1"])[0])
    count = int(header["POINTS"][0]) if "POINTS" in header else width * height
    if count < 0:
        raise ValueError(f"its header names {count} points")
    how = header["DATA"][0].lower()
    if how == "ascii":
        points = _ascii(body, header, count)
    elif how == "binary":
        points = _records(body, dtype, count)
    elif how == "binary_compressed":
        points = _compressed(body, dtype, count)
    else:
        raise ValueError(f"its DATA is {how!r}, expected ascii, binary or binary_compressed")
    return points[~np.isnan(points).any(axis=1)] if height > 1 else points


def _header(data: bytes) -> tuple[dict[str, list[str]], memoryview]:
    header: dict[str, list[str]] = {}
    offset = 0
    while "DATA" not in header:
        end = data.find(b"\n", offset, offset + 4096)
        if end < 0:
            raise ValueError("its PCD header has no DATA line")
        words = data[offset:end].decode("ascii", "replace").split("#")[0].split()
        offset = end + 1
        if words:
            header[words[0].upper()] = words[1:]
    for key in ("FIELDS", "SIZE", "TYPE", "WIDTH", "DATA"):
        if not header.get(key):
            raise ValueError(f"its PCD header has no {key} line")
    for axis in "xyz":
        if axis not in header["FIELDS"]:
            raise ValueError(f"it has no field {axis}")
    header.setdefault("COUNT", ["1"] * len(header["FIELDS"]))
    if len({len(header[key]) for key in ("FIELDS", "SIZE", "TYPE", "COUNT")}) != 1:
        raise ValueError("the FIELDS, SIZE, TYPE and COUNT lines of its header differ in length")
    return header, memoryview(data)[offset:]


def _dtype(header: dict[str, list[str]]) -> np.dtype[np.void]:
    fields: list[tuple[str, str, tuple[int, ...]]] = []
    for index, name in enumerate(header["FIELDS"]):
        kind, size, count = header["TYPE"][index].upper(), header["SIZE"][index], int(header["COUNT"][index])
        if kind not in _KINDS or size not in ("1", "2", "4", "8") or (kind == "F" and size == "1") or count < 0:
            raise ValueError(f"field {name} has an unknown type {kind}{size}")
        # The name "_" is padding and may come more than once; numpy wants each field to have its own.
        fields.append((name if name in ("x", "y", "z") else f"{index}", f"<{_KINDS[kind]}{size}", (count,)))
    return np.dtype(fields)


def _columns(table: np.ndarray) -> np.ndarray:
    return np.stack([table[axis][:, 0].astype(np.float64) for axis in "xyz"], axis=1)


def _records(body: memoryview, dtype: np.dtype[np.void], count: int) -> np.ndarray:
    if len(body) < count * dtype.itemsize:
        raise ValueError(f"it is cut short: {count} points need {count * dtype.itemsize} bytes, {len(body)} follow")
    return _columns(np.frombuffer(body, dtype=dtype, count=count))


def _ascii(body: memoryview, header: dict[str, list[str]], count: int) -> np.ndarray:
    starts = np.cumsum([0] + [int(number) for number in header["COUNT"]])
    columns = [int(starts[header["FIELDS"].index(axis)]) for axis in "xyz"]
    lines = [line for line in bytes(body).decode("ascii", "replace").splitlines() if line.strip()]
    if len(lines) < count:
        raise ValueError(f"it is cut short: its header names {count} points, {len(lines)} follow")
    if not count:
        return np.empty((0, 3))
    return np.loadtxt(lines[:count], usecols=columns, ndmin=2, comments=None)


def _compressed(body: memoryview, dtype: np.dtype[np.void], count: int) -> np.ndarray:
    if len(body) < 8:
        raise ValueError("it is cut short: the sizes of its compressed part are missing")
    packed, size = (int(number) for number in np.frombuffer(body[:8], dtype="<u4"))
    if size != count * dtype.itemsize:
        raise ValueError(f"its compressed part unpacks to {size} bytes, {count} points need {count * dtype.itemsize}")
    if len(body) < 8 + packed:
        raise ValueError(f"it is cut short: its compressed part has {packed} bytes, {len(body) - 8} follow")
    raw = unpack_lzf(bytes(body[8 : 8 + packed]), size)
    columns: list[np.ndarray] = []
    offset = 0
    for name in dtype.names or ():  # one field after the other, not one point after the other
        field, shape = dtype[name].base, dtype[name].shape
        length = field.itemsize * shape[0] * count
        if name in ("x", "y", "z"):
            columns.append(np.frombuffer(raw, dtype=field, count=count * shape[0], offset=offset)[:: shape[0]])
        offset += length
    order = [name for name in dtype.names or () if name in ("x", "y", "z")]
    return np.stack([columns[order.index(axis)].astype(np.float64) for axis in "xyz"], axis=1)


def unpack_lzf(data: bytes, size: int) -> bytes:
    """Return the `size` bytes that LZF packed into `data`; raises ValueError where it holds more or fewer."""
    out = bytearray()
    at = 0
    try:
        while at < len(data):
            control = data[at]
            at += 1
            if control < 32:
                out += data[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[at]
                at += 1
            back = ((control & 31) << 8 | data[at]) + 1
            at, length = at + 1, length + 2
            if back > len(out) or len(out) + length > size:
                raise ValueError("its compressed part is damaged")
            chunk = out[-back:] if back >= length else out[-back:] * (length // back + 1)
            out += chunk[:length]
    except IndexError as error:
        raise ValueError("its compressed part is damaged") from error
    if len(out) != size:
        raise ValueError(f"its compressed part unpacks to {len(out)} bytes, expected {size}")
    return bytes(out)
