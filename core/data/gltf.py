"""A glTF header may promise more data than its file holds; that is checked before anything believes it.

A file of 348 bytes can ask a reader for gigabytes: an accessor without a buffer view is simply filled with zeros.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .root import inside

_COMPONENT = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_TYPE = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_COMPRESSED = {"KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression"}


def check_gltf(path: Path, data: bytes) -> None:
    """Raise ValueError, with the reason, unless every accessor of the .glb or .gltf `data` fits its buffers."""
    try:
        header, binary = _split(data) if path.suffix.lower() == ".glb" else (json.loads(data), 0)
        unknown = _COMPRESSED & set(header.get("extensionsRequired", []))
        if unknown:
            raise ValueError(f"it needs {min(unknown)}, which is not supported; export it uncompressed")
        sizes = [_buffer_size(path, buffer, binary) for buffer in header.get("buffers", [])]
        _check(header, sizes)
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError, struct.error) as error:
        raise ValueError(f"its glTF header is malformed ({type(error).__name__}: {error})") from error


def _split(data: bytes) -> tuple[dict[str, Any], int]:
    magic, _, _ = struct.unpack_from("<4sII", data)
    if magic != b"glTF":
        raise ValueError("it does not start like a GLB file")
    offset, header, binary = 12, None, 0
    while offset + 8 <= len(data):
        length, kind = struct.unpack_from("<I4s", data, offset)
        offset += 8
        if offset + length > len(data):
            raise ValueError(f"it is cut short: a chunk of {length} bytes has {len(data) - offset} left")
        if kind == b"JSON" and header is None:
            header = json.loads(data[offset : offset + length])
        elif kind == b"BIN\0" and not binary:
            binary = length
        offset += length
    if header is None:
        raise ValueError("it has no JSON chunk")
    return header, binary


def _buffer_size(path: Path, buffer: dict[str, Any], binary: int) -> int:
    uri = buffer.get("uri")
    if uri is None:
        return binary
    if uri.startswith("data:"):
        return len(uri) * 3 // 4
    beside = inside(path.parent, unquote(uri), path.name)
    if not beside.is_file():
        raise ValueError(f"its buffer {uri!r} is missing; keep it beside the file, or export one .glb")
    return beside.stat().st_size


def _check(header: dict[str, Any], sizes: list[int]) -> None:
    views = header.get("bufferViews", [])
    for view in views:
        if min(view.get("byteOffset", 0), view["byteLength"]) < 0:
            raise ValueError("a buffer view has a negative size")
        if view.get("byteOffset", 0) + view["byteLength"] > sizes[view["buffer"]]:
            raise ValueError("a buffer view reaches beyond its buffer")
    without_view = 0
    for index, accessor in enumerate(header.get("accessors", [])):
        wanted = accessor["count"] * _COMPONENT[accessor["componentType"]] * _TYPE[accessor["type"]]
        if "bufferView" not in accessor:
            without_view += wanted
        elif not 0 <= wanted <= views[accessor["bufferView"]]["byteLength"]:
            raise ValueError(f"accessor {index} asks for {wanted} bytes, more than its buffer view holds")
        if wanted < 0 or without_view > sum(sizes):
            raise ValueError(f"accessor {index} asks for {wanted} bytes, more than the file's buffers hold")
