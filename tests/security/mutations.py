"""Small sound files of every format, and seeded damage to them."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
from safetensors.numpy import save

_NUMBERS = (b"-1", b"0", b"65536", b"4294967295", b"9223372036854775807", b"1e400", b"nan", b"99999999999999999999")
_TEXTS = (
    b"/etc/passwd",
    b"../../../../etc/passwd",
    b"\0",
    b"\xff\xfe",
    b"a" * 5000,
    b"[" * 3000,
    b"{" * 3000,
    b"&a *a",
)


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.linspace(0, 1, 192, dtype=np.float32).reshape(64, 3))
    return stream.getvalue()


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, points=np.linspace(0, 1, 192, dtype=np.float32).reshape(64, 3))
    return stream.getvalue()


def _text() -> bytes:
    return b"".join(f"{x} {x % 5} {x % 3}\n".encode() for x in range(64))


def _ply() -> bytes:
    properties = b"property float x\nproperty float y\nproperty float z\n"
    return b"ply\nformat ascii 1.0\nelement vertex 64\n" + properties + b"end_header\n" + _text()


def _pcd() -> bytes:
    fields = b"VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 64\nHEIGHT 1\n"
    return fields + b"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 64\nDATA ascii\n" + _text()


def _off() -> bytes:
    return b"OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"


def _obj() -> bytes:
    return b"mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nusemtl a\nf 1 2 3\nf 1 2 4\nf 1 3 4\n"


def _stl() -> bytes:
    corners = struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)
    return b"\0" * 80 + struct.pack("<I", 2) + corners + corners


def _glb() -> bytes:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "f4").tobytes()
    accessor = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}
    scene = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}], "accessors": [accessor],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}], "buffers": [{"byteLength": len(points)}],
    }  # fmt: skip
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(points), b"BIN\0") + points
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _h5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["data"] = np.linspace(0, 1, 4 * 64 * 3, dtype=np.float32).reshape(4, 64, 3)
        file["label"] = np.arange(4) % 2
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("chair/a.xyz", "chair/b.xyz", "table/a.xyz", "table/b.xyz"):
            archive.writestr(name, _text())
    return stream.getvalue()


def _yaml() -> bytes:
    return b"backbone:\n  kind: point-transformer\n  weights: random\nmethod:\n  kind: lora\n  rank: 4\n" \
        b"data:\n  kind: demo\noptim:\n  epochs: 2\n  lr: 0.001\n"  # fmt: skip


CLOUDS: dict[str, Callable[[], bytes]] = {
    "npy": _npy, "npz": _npz, "xyz": _text, "ply": _ply, "pcd": _pcd, "off": _off,
    "obj": _obj, "stl": _stl, "glb": _glb,
}  # fmt: skip
"""Formats of one cloud or mesh, by extension."""
SETS: dict[str, Callable[[], bytes]] = {"h5": _h5, "zip": _zip}
"""Formats of a whole data set."""
SETTINGS: dict[str, Callable[[], bytes]] = {"yaml": _yaml}


def weights() -> bytes:
    """Return a sound file of safetensors."""
    return save({"a.weight": np.zeros((4, 4), np.float32), "a.bias": np.zeros(4, np.float32)})


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return content with one to four damages: bits, lengths, numbers, texts, cuts and repetitions."""
    for _ in range(chance.randint(1, 4)):
        # Headers decide most: every second damage lies in the first hundred bytes.
        at = chance.randrange(max(1, min(len(content), 100 if chance.random() < 0.5 else len(content))))
        kind = chance.randrange(7)
        if kind == 0:
            content = (
                content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :] if content else b"\0"
            )
        elif kind == 1:
            content = content[:at] + struct.pack("<Q", chance.choice((0, 2**31, 2**32 - 1, 2**63))) + content[at + 8 :]
        elif kind == 2:
            content = content[:at]
        elif kind == 3:
            content = content[:at] + chance.choice(_TEXTS) + content[at:]
        elif kind == 4:
            numbers = list(re.finditer(rb"\d+", content[:4000]))
            if numbers:
                number = chance.choice(numbers)
                content = content[: number.start()] + chance.choice(_NUMBERS) + content[number.end() :]
        elif kind == 5:
            content = content[:at] + content[at : at + 200] * chance.randint(2, 30) + content[at:]
        else:
            content = content[at:] + content[:at]
    return content[: 2**20]
