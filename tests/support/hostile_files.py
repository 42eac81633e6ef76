"""Files made to do harm: false sizes, bombs, pickles, links that leave their folder."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

MB = 1 << 20

CLOUD = "\n".join(f"{i} {i * i % 7} {i % 3}" for i in range(40))


class Boom:
    """Whoever unpickles this makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.mark, "ran")


def glb(header: dict[str, object], binary: bytes = b"\0" * 64) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def mesh(count: int, view: bool) -> bytes:
    accessor = {"componentType": 5126, "count": count, "type": "VEC3"} | ({"bufferView": 0} if view else {})
    return glb({
        "asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}], "accessors": [accessor],
        "buffers": [{"byteLength": 64}], "bufferViews": [{"buffer": 0, "byteLength": 64}],
    })  # fmt: skip


def npy(shape: tuple[int, ...], dtype: str = "<f4", content: bytes = b"\0" * 64) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def pickled_npy(mark: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Boom(mark)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def npz_of(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", content)
    return stream.getvalue()


def bomb(name: str, head: bytes, megabytes: int) -> bytes:
    """A zip whose member unpacks to so much; made piece by piece, as a child's peak begins at its parent's size."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as member:
        member.write(head)
        for _ in range(megabytes):
            member.write(b"\0" * MB)
    return stream.getvalue()


PLY = b"ply\nformat %s 1.0\nelement vertex %d\nproperty float x\nproperty float y\nproperty float z\nend_header\n"

PCD = (
    "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {0}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
    "POINTS {0}\nDATA {1}\n"
)

HUGE = 4_000_000_000

FILES: dict[str, Callable[[Path], bytes]] = {
    "count.glb": lambda mark: mesh(HUGE, False),
    "view.glb": lambda mark: mesh(HUGE, True),
    "negative.glb": lambda mark: mesh(-5, True),
    "deep.gltf": lambda mark: b'{"scenes":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "not.glb": lambda mark: b"glTF" + b"\xff" * 100,
    "object.npy": pickled_npy,
    "object.npz": lambda mark: npz_of(pickled_npy(mark)),
    "claims.npy": lambda mark: npy((10**11, 3)),
    "overflow.npy": lambda mark: npy((2**62, 2**62, 3)),
    "bomb.npz": lambda mark: bomb("points.npy", npy((50 * MB, 3), content=b""), 600),
    "nan.npy": lambda mark: npy((4, 3), content=np.full(12, np.nan, "<f4").tobytes()),
    "empty.ply": lambda mark: b"",
    "huge.ply": lambda mark: PLY % (b"binary_little_endian", HUGE) + b"\0" * 120,
    "huge-ascii.ply": lambda mark: PLY % (b"ascii", HUGE) + b"0 0 0\n",
    "huge.pcd": lambda mark: PCD.format(HUGE, "binary").encode() + b"\0" * 120,
    "squeezed.pcd": lambda mark: (
        PCD.format(HUGE, "binary_compressed").encode() + struct.pack("<II", 16, 0xFFFFFFFF) + b"\0" * 16
    ),
    "ascii.pcd": lambda mark: PCD.format(HUGE, "ascii").encode() + b"0 0 0\n",
    "count.stl": lambda mark: b"\0" * 80 + struct.pack("<I", 0xFFFFFFFF) + b"\0" * 200,
    "index.obj": lambda mark: b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 99999999\n",
    "bomb.3mf": lambda mark: bomb("3D/3dmodel.model", b"<model>", 600),
    "entities.dae": lambda mark: b'<!DOCTYPE a [<!ENTITY b "xxxxxxxxxx">]><COLLADA>&b;</COLLADA>',
    "words.xyz": lambda mark: b"not a point in sight\n" * 50,
    "zeros.txt": lambda mark: b"\0" * (2 * MB),
    "nan.xyz": lambda mark: b"nan nan nan\n" * 20,
}


def archive(path: Path, members: dict[str, bytes], link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, "/etc/passwd")
    return path


def inner() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a/0.xyz", CLOUD)
    return stream.getvalue()


SOUND = {f"{label}/{i}.xyz": CLOUD.encode() for label in "ab" for i in range(3)}


def hostile_h5(path: Path, how: str) -> Path:
    secret = path.with_name("secret.h5")
    with h5py.File(secret, "w") as file:
        file["data"], file["label"] = np.ones((4, 8, 3), "f4"), np.arange(4) % 2
    with h5py.File(path, "w") as file:
        file["label"] = np.arange(4) % 2
        if how == "link":
            file["data"] = h5py.ExternalLink(str(secret), "/data")
        elif how == "virtual":
            layout = h5py.VirtualLayout((4, 8, 3), "f4")
            layout[:] = h5py.VirtualSource(str(secret), "data", (4, 8, 3))
            file.create_virtual_dataset("data", layout)
        elif how == "external":
            file.create_dataset("data", (4, 8, 3), "f4", external=[("/etc/passwd", 0, 4 * 8 * 3 * 4)])
        else:
            file.create_dataset("data", (10**7, 1000, 3), "f4", chunks=(1, 1000, 3))
    return path
