"""A mesh file becomes triangles in one frame, or bare vertices where it has no faces."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from .archive import check_members
from .gltf import check_gltf
from .root import inside, require_confined

MESH_EXTENSIONS = frozenset({"obj", "off", "stl", "ply", "glb", "gltf", "3mf", "3dxml", "xaml", "dae"})
_ZIPPED = {"3mf", "3dxml"}
_MOST_TRIANGLES = 10_000_000


def read_mesh(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (triangles (F, 3, 3), vertices (V, 3)) of all parts of a file, each moved to its place in the scene.

    F is 0 where no part has faces. Raises ValueError with the reason for a file that holds nothing usable.
    """
    trimesh: Any = import_module("trimesh")  # most of a second: only those who open a mesh pay
    extension = path.suffix[1:].lower()
    data = path.read_bytes()
    if not data:
        raise ValueError("the file is empty")
    if extension not in trimesh.available_formats():
        raise ValueError("this installation lacks the package pycollada that opens COLLADA files")
    if extension in _ZIPPED:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_members(archive, name, max_bytes=1 << 30, max_members=10_000)
    resolver = None
    if extension in ("glb", "gltf"):
        check_gltf(path, data)
        # Only a .gltf has its geometry in other files; nothing else may open what lies beside it.
        resolver = _Beside(path) if extension == "gltf" else None
    with warnings.catch_warnings():
        # A broken file makes the parsers warn about casts; its reasons reach the user through the checks below.
        warnings.simplefilter("ignore")
        scene = trimesh.load_scene(
            io.BytesIO(data), file_type=extension, resolver=resolver, process=False, skip_materials=True
        )
    triangles, vertices = _gather(scene)
    if extension == "ply":
        _check_ply(data, sum(len(getattr(part, "vertices", ())) for part in scene.geometry.values()))
    return triangles, vertices


class _Beside:
    """What trimesh asks for the buffers of a .gltf: files below its folder, and no others."""

    def __init__(self, path: Path) -> None:
        self._folder, self._name = path.parent, path.name

    def __getitem__(self, name: str) -> bytes:
        return self.get(name)

    def get(self, name: str) -> bytes:
        file = inside(self._folder, unquote(name), self._name)
        require_confined(file, file.name)
        return file.read_bytes()

    def keys(self) -> list[str]:
        return []


def _check_ply(data: bytes, found: int) -> None:
    """Refuse a PLY whose header names more vertices than came out of it: trimesh takes what is there."""
    header = re.search(rb"\A.{0,4096}?^element vertex (\d{1,20})\s", data[:65536], re.DOTALL | re.MULTILINE)
    if header and int(header[1]) > found:
        raise ValueError(f"it is cut short: its header names {int(header[1])} vertices, {found} are there")


def _gather(scene: Any) -> tuple[np.ndarray, np.ndarray]:
    triangles: list[np.ndarray] = [np.empty((0, 3, 3))]
    loose: list[np.ndarray] = [np.empty((0, 3))]
    total = 0
    for node in scene.graph.nodes_geometry:
        matrix, key = scene.graph[node]
        placement: NDArray[np.float64] = np.asarray(matrix, dtype=np.float64)
        part = scene.geometry[key]
        vertices: np.ndarray = np.asarray(getattr(part, "vertices", ()), dtype=np.float64)
        if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices):
            continue
        faces: NDArray[np.int64] = np.asarray(getattr(part, "faces", ()), dtype=np.int64)
        faces = np.reshape(faces, (-1, 3))
        total += len(faces)
        if total > _MOST_TRIANGLES:
            raise ValueError(f"it has more than {_MOST_TRIANGLES} triangles; simplify it first")
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise ValueError(f"a face names vertex {int(faces.max())} of {len(vertices)}")
        with np.errstate(over="ignore", invalid="ignore"):  # infinite results are counted and refused by the caller
            vertices = np.matmul(vertices, np.transpose(placement[:3, :3])) + placement[:3, 3]
        if len(faces):
            triangles.append(vertices[faces])
        else:
            loose.append(vertices)
    return np.concatenate(triangles), np.concatenate(loose)
