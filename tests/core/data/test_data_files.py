"""One file becomes points: every format that is promised, every fault with its reason."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from pointsmith.core.data.files import read_clouds, read_points, read_untrusted
from pointsmith.core.data.pcd import unpack_lzf
from pointsmith.core.data.surface import sample_surface
from pointsmith.core.errors import UserError

from tests.support.paths import SHARED
from tests.support.processes import PATIENCE

FORMATS = SHARED / "mesh-formats"


def read(path: Path, count: int = 64, seed: int = 0) -> np.ndarray:
    return read_points(path, count=count, rng=np.random.default_rng(seed))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


# --- meshes


def test_area_decides_where_points_fall():
    near = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    far = near * 3 + [100, 0, 0]  # nine times the area
    points = sample_surface(np.stack([near, far]), 90_000, np.random.default_rng(1))
    share = (points[:, 0] > 50).mean()
    assert abs(share - 0.9) < 5 * np.sqrt(0.9 * 0.1 / 90_000)
    inside = points[points[:, 0] < 50]
    assert (inside.min(axis=0) >= -1e-12).all() and (inside[:, 0] + inside[:, 1] <= 1 + 1e-9).all()
    # Uniform inside one triangle: the mean is the centroid, and each quarter triangle holds a quarter.
    assert np.allclose(inside.mean(axis=0), near.mean(axis=0), atol=0.01)
    for quarter in (inside[:, 0] > 0.5, inside[:, 1] > 0.5, inside[:, 0] + inside[:, 1] < 0.5):
        assert abs(quarter.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / len(inside))


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e150])
def test_area_sampling_survives_extreme_sizes(scale: float):
    triangles = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[5, 0, 0], [8, 0, 0], [5, 3, 0]]], float) * scale
    points = sample_surface(triangles, 1000, np.random.default_rng(0)) / scale
    assert np.isfinite(points).all() and 0.85 < (points[:, 0] > 4).mean() < 0.95


def test_a_triangle_without_area_gets_no_point():
    line = np.array([[9, 9, 9], [9, 9, 9], [9, 9, 9]], float)
    flat = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    points = sample_surface(np.stack([line, flat, line]), 5000, np.random.default_rng(0))
    assert points.max() <= 1


@pytest.mark.parametrize("extension", ["obj", "off", "stl", "ply", "glb", "gltf", "3mf"])
def test_every_mesh_format_gives_the_same_box(tmp_path: Path, extension: str):
    box = trimesh.creation.box(extents=[2, 4, 6])
    if extension == "gltf":
        for name, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(box)).items():
            (tmp_path / name).write_bytes(data)
        path = tmp_path / "model.gltf"
    else:
        path = tmp_path / f"box.{extension}"
        box.export(path)
    points = read(path, 4000)
    assert points.shape == (4000, 3) and points.dtype == np.float32
    half = np.array([1, 2, 3])
    assert np.allclose(np.abs(points).max(axis=0), half, atol=1e-5)
    assert np.isclose(np.abs(points) / half, 1, atol=1e-5).any(axis=1).all()  # all of them on the surface
    assert np.array_equal(points, read(path, 4000)) and not np.array_equal(points, read(path, 4000, seed=1))


def test_parts_of_a_scene_stand_where_the_scene_puts_them(tmp_path: Path):
    scene = trimesh.Scene()
    box = trimesh.creation.box(extents=[1, 1, 1])
    scene.add_geometry(box)
    scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([10, 0, 0]))
    scene.export(tmp_path / "two.glb")
    x = read(tmp_path / "two.glb", 2000)[:, 0]
    assert ((np.abs(x) <= 0.5001) | (np.abs(x - 10) <= 0.5001)).all() and 0.4 < (x > 5).mean() < 0.6


def test_vertices_without_faces_are_a_cloud(tmp_path: Path):
    path = write(tmp_path, "p.obj", "v 0 0 0\nv 1 0 0\nv 0 2 0\n")
    assert np.array_equal(read(path), np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], np.float32))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("e.obj", "", "empty"),
        ("e.glb", b"", "empty"),
        ("e.npy", b"", "empty"),
        ("none.obj", "# nothing\n", "no points"),
        ("flat.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no area"),
        ("same.obj", "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "no area"),
        ("nan.obj", "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN"),
        ("inf.off", "OFF\n3 1 0\n0 0 inf\n1 0 0\n0 1 0\n3 0 1 2\n", "infinite"),
        ("range.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "outside the range"),
        ("range.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "cannot be read"),
        ("noise.stl", bytes(range(256)) * 8, "cannot be read"),
        ("noise.glb", bytes(range(256)) * 8, "GLB"),
        ("noise.3mf", b"PK\x03\x04" + bytes(64), "cannot be read"),
        ("noise.xaml", "<<<", "cannot be read"),
        ("noise.3dxml", b"PK\x03\x04" + bytes(64), "cannot be read"),
        ("count.stl", bytes(80) + b"\xff\xff\xff\xff" + bytes(50), "cannot be read"),
        ("some.docx", "hello", "known kind"),
        ("some", "hello", "known kind"),
        ("words.txt", "these are\nonly words\n", "three numbers"),
        ("two.csv", "1,2\n3,4\n", "three numbers"),
        ("gap.csv", "1,2,3\n4,5\n", "cannot be read"),
        ("nan.xyz", "1 2 3\nnan 2 3\n", "1 of 2 points"),
        ("big.xyz", "1 2 3\n1e60 2 3\n", "infinite"),
    ],
)
def test_a_broken_file_is_refused_with_its_reason(tmp_path: Path, name: str, content: str | bytes, reason: str):
    assert reason in refused(write(tmp_path, name, content))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    assert "does not exist" in refused(tmp_path / "gone.ply")
    (tmp_path / "folder.ply").mkdir()
    assert "not a file" in refused(tmp_path / "folder.ply")


@pytest.mark.skipif("dae" in trimesh.available_formats(), reason="pycollada is installed")
def test_collada_without_its_package_says_so(tmp_path: Path):
    assert "pycollada" in refused(write(tmp_path, "a.dae", "<COLLADA/>"))


def test_cut_short_files_are_refused(tmp_path: Path):
    box = trimesh.creation.box()
    for extension in ("glb", "3mf", "ply"):
        box.export(tmp_path / f"box.{extension}")
        data = (tmp_path / f"box.{extension}").read_bytes()
        refused(write(tmp_path, f"cut.{extension}", data[: len(data) - 60]))


# --- glTF headers that promise too much


def glb(header: dict[str, object], binary: bytes = b"") -> bytes:
    text = json.dumps({"asset": {"version": "2.0"}, **header}).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


@pytest.mark.parametrize("count", [100_000_000, 3_000_000_000])
def test_an_accessor_without_data_is_refused_before_it_takes_memory(tmp_path: Path, count: int):
    accessor = {"componentType": 5126, "count": count, "type": "VEC3"}
    meshes = [{"primitives": [{"attributes": {"POSITION": 0}}]}]
    header = {"accessors": [accessor], "bufferViews": [], "meshes": meshes, "nodes": [{"mesh": 0}]}
    assert "more than the file's buffers hold" in refused(write(tmp_path, "bomb.glb", glb(header)))
    refused(write(tmp_path, "bomb.gltf", json.dumps({"asset": {"version": "2.0"}, **header})))


def test_accessors_and_views_must_fit(tmp_path: Path):
    view = {"buffer": 0, "byteLength": 36}
    accessor = {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"}
    fits = {"buffers": [{"byteLength": 36}], "bufferViews": [view], "accessors": [accessor]}
    assert "accessor 0" in refused(write(tmp_path, "a.glb", glb(fits, bytes(36))))
    assert "beyond its buffer" in refused(write(tmp_path, "b.glb", glb(fits, bytes(32))))
    assert "malformed" in refused(write(tmp_path, "c.glb", glb({"accessors": [{"count": "x"}]}, bytes(4))))
    draco = {"extensionsRequired": ["KHR_draco_mesh_compression"]}
    assert "draco" in refused(write(tmp_path, "d.glb", glb(draco, bytes(4))))


def test_a_gltf_buffer_may_not_lie_elsewhere(tmp_path: Path):
    (tmp_path / "in").mkdir()
    write(tmp_path, "secret.bin", bytes(100))
    outside = {"asset": {"version": "2.0"}, "buffers": [{"uri": "../secret.bin", "byteLength": 100}]}
    assert "outside" in refused(write(tmp_path / "in", "a.gltf", json.dumps(outside)))
    outside["buffers"] = [{"uri": "gone.bin", "byteLength": 100}]
    assert "missing" in refused(write(tmp_path / "in", "b.gltf", json.dumps(outside)))


def test_a_3mf_that_unpacks_to_too_much_is_refused(tmp_path: Path):
    path = tmp_path / "bomb.3mf"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", b" " * (64 << 20))
    assert "unpacks to" in refused(path)


# --- text tables

TABLE = np.array([[1.5, -2, 3], [4, 5e-1, 6], [7, 8, 9.25]], np.float32)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xyz", "1.5 -2 3\n4 5e-1 6\n7 8 9.25\n"),
        ("tabs.txt", "1.5\t-2\t3\n\n4\t5e-1\t6\n7\t8\t9.25"),
        ("a.csv", "1.5,-2,3\n4,5e-1,6\n7,8,9.25\n"),
        ("bom.csv", "\ufeff1.5, -2, 3\r\n4, 5e-1, 6\r\n7, 8, 9.25\r\n"),
        ("a.txt", "1.5;-2;3\n4;5e-1;6\n7;8;9.25\n"),
        ("decimal.csv", "x;y;z\n1,5;-2;3\n4;5e-1;6\n7;8;9,25\n"),
        ("header.csv", "x,y,z,label\n1.5,-2,3,chair\n4,5e-1,6,chair\n7,8,9.25,chair\n"),
        ("order.csv", '"id","z","x","y"\n"a",3,1.5,-2\n"b",6,4,5e-1\n"c",9.25,7,8\n'),
        ("compare.asc", "//X Y Z R\n1.5 -2 3 255\n4 5e-1 6 0\n7 8 9.25 0\n"),
        ("a.pts", "3\n1.5 -2 3 0 10 20 30\n4 5e-1 6 0 1 2 3\n7 8 9.25 0 0 0 0\n"),
        ("comment.xyz", "# made by hand\n1.5 -2 3 # first\n4 5e-1 6\n# between\n7 8 9.25\n"),
    ],
)
def test_text_tables(tmp_path: Path, name: str, text: str):
    assert np.array_equal(read(write(tmp_path, name, text)), TABLE)


def test_a_cloud_keeps_all_its_points(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32)
    np.savetxt(tmp_path / "modelnet.txt", points, delimiter=",", fmt="%.9g")
    assert np.array_equal(read(tmp_path / "modelnet.txt", count=10), points[:, :3])


def test_map_coordinates_are_moved_before_float32_blurs_them(tmp_path: Path):
    local = np.random.default_rng(0).uniform(-2, 2, (500, 3))
    np.savetxt(tmp_path / "map.xyz", local + np.array([665187.5, 5648349.9, 241.8]), fmt="%.6f")
    points = read(tmp_path / "map.xyz")
    shift = points.mean(axis=0) - local.mean(axis=0)
    assert np.abs(points - local - shift).max() < 1e-5
    np.savetxt(tmp_path / "near.xyz", local + 10, fmt="%.9g")
    assert np.allclose(read(tmp_path / "near.xyz"), local + 10, atol=1e-6)


# --- numpy


def test_numpy_arrays(tmp_path: Path):
    cloud = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.save(tmp_path / "a.npy", cloud)
    assert np.array_equal(read(tmp_path / "a.npy"), cloud[:, :3])
    np.save(tmp_path / "f.npy", np.asfortranarray(cloud.astype(np.float64)))
    assert np.array_equal(read(tmp_path / "f.npy"), cloud[:, :3])
    np.savez_compressed(tmp_path / "a.npz", name=np.array(["x"], object), face=np.zeros((9, 3), int), xyz=cloud)
    assert np.array_equal(read(tmp_path / "a.npz"), cloud[:, :3])


def test_a_batch_of_clouds(tmp_path: Path):
    batch = np.random.default_rng(0).normal(size=(3, 20, 3)).astype(np.float32)
    np.save(tmp_path / "b.npy", batch)
    clouds = read_clouds(tmp_path / "b.npy", count=5, rng=np.random.default_rng(0))
    assert np.array_equal(np.stack(clouds), batch)
    assert "3 clouds" in refused(tmp_path / "b.npy")
    np.save(tmp_path / "one.npy", batch[:1])
    assert np.array_equal(read(tmp_path / "one.npy"), batch[0])
    batch[1, 4] = np.nan
    np.save(tmp_path / "nan.npy", batch)
    with pytest.raises(UserError, match=r"nan.npy\[1\] has 1 of 20 points"):
        read_clouds(tmp_path / "nan.npy", count=5, rng=np.random.default_rng(0))


class Trap:
    """Unpickling this would leave a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_objects_are_never_opened(tmp_path: Path):
    trap = np.array([Trap(tmp_path / "sprung")] * 3, object)
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "a.npz", trap=trap)
    assert "Python objects" in refused(tmp_path / "a.npy")
    assert "Python objects" in refused(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_an_array_that_claims_more_than_its_file(tmp_path: Path):
    with (tmp_path / "bomb.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"shape": (10**11, 3), "fortran_order": False, "descr": "<f8"})
    assert "cut short" in refused(tmp_path / "bomb.npy")
    np.save(tmp_path / "a.npy", np.zeros((100, 3)))
    assert "cut short" in refused(write(tmp_path, "cut.npy", (tmp_path / "a.npy").read_bytes()[:-8]))


@pytest.mark.parametrize("shape", [(3,), (5, 2), (0, 3), (2, 2, 2, 3), (2, 0, 3), (0, 4, 3)])
def test_arrays_of_another_shape(tmp_path: Path, shape: tuple[int, ...]):
    np.save(tmp_path / "a.npy", np.ones(shape))
    refused(tmp_path / "a.npy")


def test_arrays_that_are_no_numbers(tmp_path: Path):
    for index, array in enumerate([np.array([["a", "b", "c"]]), np.ones((4, 3), complex), np.ones((4, 3), bool)]):
        np.save(tmp_path / f"{index}.npy", array)
        assert "expected numbers" in refused(tmp_path / f"{index}.npy")


# --- PCD

PCD_HEAD = (
    "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\nWIDTH {n}\nHEIGHT {h}\n"
)


def pack_lzf(data: bytes) -> bytes:
    """Literal runs, and back references wherever four bytes repeat: enough to exercise both."""
    out, at = bytearray(), 0
    while at < len(data):
        before = data[:at].rfind(data[at : at + 4], max(0, at - 4000)) if at + 4 <= len(data) else -1
        if before >= 0:
            length = 4
            while length < 200 and at + length < len(data) and data[before + length] == data[at + length]:
                length += 1
            back = at - before - 1
            code = length - 2
            out += (
                bytes([min(code, 7) << 5 | back >> 8]) + (bytes([code - 7]) if code >= 7 else b"") + bytes([back & 255])
            )
            at += length
        else:
            out += bytes([0, data[at]])
            at += 1
    return bytes(out)


def test_pcd_in_its_three_forms(tmp_path: Path):
    dtype = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
    table = np.zeros(40, dtype)
    points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    points[20:] = points[:20]
    table["x"], table["y"], table["z"] = points.T
    head = PCD_HEAD.format(n=40, h=1) + "POINTS 40\nDATA "
    rows = "\n".join(" ".join(f"{value:.9g}" for value in row) + " 7" for row in points)
    assert np.array_equal(read(write(tmp_path, "a.pcd", f"{head}ascii\n{rows}\n")), points)
    assert np.array_equal(read(write(tmp_path, "b.pcd", f"{head}binary\n".encode() + table.tobytes())), points)
    raw = b"".join(table[name].tobytes() for name in dtype.names or ())
    packed = pack_lzf(raw)
    assert len(packed) < len(raw) * 1.5 and unpack_lzf(packed, len(raw)) == raw
    body = struct.pack("<II", len(packed), len(raw)) + packed
    assert np.array_equal(read(write(tmp_path, "c.pcd", f"{head}binary_compressed\n".encode() + body)), points)
    assert "cut short" in refused(write(tmp_path, "d.pcd", f"{head}binary\n".encode() + table.tobytes()[:-1]))
    assert "cut short" in refused(write(tmp_path, "e.pcd", f"{head}ascii\n1 2 3 4\n"))
    assert "cut short" in refused(write(tmp_path, "f.pcd", f"{head}binary_compressed\n".encode() + body[:-1]))
    damaged = struct.pack("<II", 4, len(raw)) + b"\xff\xff\xff\xff"
    assert "damaged" in refused(write(tmp_path, "g.pcd", f"{head}binary_compressed\n".encode() + damaged))


def test_pcd_bad_headers(tmp_path: Path):
    assert "DATA" in refused(write(tmp_path, "a.pcd", "hello\nworld\n"))
    assert "field z" in refused(
        write(tmp_path, "b.pcd", "FIELDS x y\nSIZE 4 4\nTYPE F F\nWIDTH 1\nHEIGHT 1\nDATA ascii\n1 2\n")
    )
    huge = PCD_HEAD.format(n=10**12, h=1) + "DATA binary\n"
    assert "cut short" in refused(write(tmp_path, "c.pcd", huge))
    assert "unknown type" in refused(
        write(tmp_path, "d.pcd", "FIELDS x y z\nSIZE 3 4 4\nTYPE F F F\nWIDTH 1\nDATA ascii\n1 2 3\n")
    )


def test_an_organised_pcd_leaves_out_what_saw_nothing(tmp_path: Path):
    head = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 2\nHEIGHT {}\nPOINTS 4\nDATA ascii\n"
    head += "1 2 3\nnan nan nan\n4 5 6\n7 8 9\n"
    assert len(read(write(tmp_path, "a.pcd", head.format(2)))) == 3
    assert "NaN" in refused(write(tmp_path, "b.pcd", head.format(1)))


# --- files of strangers


def test_untrusted_equals_trusted(tmp_path: Path):
    trimesh.creation.icosphere().export(tmp_path / "ball.stl")
    assert np.array_equal(read_untrusted(tmp_path / "ball.stl", 200, 5), read(tmp_path / "ball.stl", 200, seed=5))


def test_untrusted_reports_the_same_reason(tmp_path: Path):
    path = write(tmp_path, "flat.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    with pytest.raises(UserError) as caught:
        read_untrusted(path, 10, 0)
    assert str(caught.value) == refused(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space")
def test_untrusted_runs_into_its_limits(tmp_path: Path):
    path = tmp_path / "large.xyz"
    with path.open("w") as stream:
        for _ in range(60):
            stream.write("1.25 2.5 3.75\n" * 100_000)  # 84 MB of text, several hundred once it is split into lines
    with pytest.raises(UserError, match=r"large.xyz .*(memory|MiB)"):
        read_untrusted(path, 10, 0, memory_bytes=300 << 20)
    with pytest.raises(UserError, match=r"large.xyz .*CPU time"):
        read_untrusted(path, 10, 0, cpu_seconds=1)
    with pytest.raises(UserError, match="longer than 1 s"):
        read_untrusted(path, 10, 0, wall_seconds=1)


def test_untrusted_child_sees_no_secret_and_imports_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, str] = {}
    really = subprocess.Popen

    def run(command: list[str], **options: object):
        seen.update(options["env"])  # type: ignore[arg-type]
        return really(command, **options)  # type: ignore[call-overload]

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("REDIS_URL", "redis://:secret@host")
    monkeypatch.setattr(subprocess, "Popen", run)
    read_untrusted(write(tmp_path, "a.xyz", "1 2 3\n4 5 6\n"), 10, 0)
    assert seen and "secret" not in repr(seen)
    monkeypatch.undo()
    code = "import sys, pointsmith.core.data.files; assert not {'torch', 'trimesh', 'gradio'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE).returncode == 0


# --- the real collection

UNREADABLE = {
    "empty.obj",
    "empty.ply",
    "empty.stl",
    "empty_nodes.glb",
    "emptyIO/obj_empty.obj",
    "emptyIO/ply_empty_ascii.ply",
    "emptyIO/ply_empty_bin.ply",
    "emptyIO/ply_empty_header.ply",
    "emptyIO/stl_empty_ascii.stl",
    "emptyIO/stl_empty_bin.stl",
}


@pytest.mark.skipif(not FORMATS.is_dir(), reason="the shared data are not here")
def test_the_mesh_formats_collection():
    files = sorted(path for path in FORMATS.rglob("*") if path.is_file() and path.suffix != ".txt")
    assert len(files) == 114
    failed: dict[str, str] = {}
    for path in files:
        name = path.relative_to(FORMATS).as_posix()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                points = read_points(path, count=128, rng=np.random.default_rng(0), name=name)
        except UserError as error:
            failed[name] = str(error)
        else:
            assert points.dtype == np.float32 and points.shape[1] == 3 and np.isfinite(points).all()
    assert set(failed) == UNREADABLE
    assert all(name in message and "it holds no points" in message for name, message in failed.items())
