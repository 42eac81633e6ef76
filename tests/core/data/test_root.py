"""Names that files give: whatever a stranger's list, README, archive or mesh says, no file outside is read."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
from PIL import Image
from pointsmith.core.data.cloud_list import read_cloud_list
from pointsmith.core.data.config import DataConfig
from pointsmith.core.data.files import read_points
from pointsmith.core.data.kinds import data_kind
from pointsmith.core.data.load import read
from pointsmith.core.data.names import MODELNET40
from pointsmith.core.data.root import confinement, inside, listed_file
from pointsmith.core.errors import UserError
from pydantic import TypeAdapter

UPLOAD = "0123456789abcdef0123456789abcdef"
RNG = np.random.default_rng(0)


def spellings(target: Path, base: Path) -> list[str]:
    """Ways to name `target`, which lies outside of `base`, the folder of the list."""
    up = "/".join([".."] * len(base.parts)) + target.as_posix()
    beside = f"../{target.name}"
    return [
        target.as_posix(), f"/{target.as_posix()}", f"//{target.as_posix()}", f"/.{target.as_posix()}", up, f"./{up}",
        f"x/../{up}", f"link/{target.name}", f"./link/{target.name}", f"sub/../link/{target.name}", 
        f"link.{target.suffix[1:]}",
        f"file://{target.as_posix()}", f"file:{target.as_posix()}", f"FILE://{target.as_posix()}",
        f"http://127.0.0.1:1/{target.name}", f"hf://datasets/a/b/{target.name}", f"local://{target.as_posix()}",
        f"~/{target.name}", f"~root/{target.name}", f"C:{target.name}", f"C:\\{target.name}", 
        f"\\\\host\\{target.name}",
        beside, f"./{beside}", f"sub/../{beside}", f"sub/./../{beside}", f"..\\{target.name}",
        f"sub\\..\\..\\{target.name}",
        f" {target.as_posix()}", f"{target.as_posix()} ", f"\u00a0{target.as_posix()}", f"\t{target.as_posix()}",
        f'"{target.as_posix()}"', f"{target.as_posix()}\0", f"{target.as_posix()}\0.png", 
        "/proc/self/cwd/" + target.name,
        f"/dev/fd/../../{target.as_posix()}", f"/proc/self/root{target.as_posix()}", "x" * 5000, f"{up}/.",
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An upload's folder, with links out of it as a careless tool might leave them."""
    folder = tmp_path / "uploads" / UPLOAD
    (folder / "sub").mkdir(parents=True)
    for suffix, content in (("xyz", table()), ("png", picture()), ("txt", table())):
        (folder.parent / f"secret.{suffix}").write_bytes(content)
        (folder / f"link.{suffix}").symlink_to(folder.parent / f"secret.{suffix}")
    (folder / "link").symlink_to(folder.parent)
    return folder


def table() -> bytes:
    return "\n".join(" ".join(f"{value:.4f}" for value in row) for row in RNG.normal(size=(40, 3))).encode()


def picture() -> bytes:
    from io import BytesIO

    made = BytesIO()
    Image.fromarray(RNG.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(made, "png")
    return made.getvalue()


def reads(content: dict[str, Any]) -> Any:
    return read(TypeAdapter[DataConfig](DataConfig).validate_python(content))


# --- one attack and one honest twin for each reader that takes names from files: (folder, name) → its data set ---


def cloud_list(folder: Path, name: str) -> dict[str, Any]:
    return listing(folder, name, "xyz", "folder", table())


def image_list(folder: Path, name: str) -> dict[str, Any]:
    return {**listing(folder, name, "png", "images", picture()), "preparation": {"size": 16}}


def listing(folder: Path, name: str, suffix: str, kind: str, content: bytes) -> dict[str, Any]:
    for i in range(8):
        (folder / f"{i}.{suffix}").write_bytes(content)
    rows = [f'"{name}",a'.encode("utf-8", "surrogateescape")] if '"' not in name else [f"{name},a".encode()]
    rows += [f"{i}.{suffix},{'ab'[i % 2]}".encode() for i in range(8) if f"{i}.{suffix}" != name]
    (folder / "list.csv").write_bytes(b"\n".join(rows))
    return {"kind": kind, "path": str(folder / "list.csv"), "test_share": 0.25}


def modelnet(folder: Path, name: str) -> dict[str, Any]:
    rows = "".join(f"{x:.3f},{y:.3f},{z:.3f},0,0,1\n" for x, y, z in RNG.normal(size=(16, 3)))
    for label in MODELNET40:
        (folder / label).mkdir(exist_ok=True)
        for i in range(2):
            (folder / label / f"{label}_{i}.txt").write_text(rows)
    (folder / "modelnet40_shape_names.txt").write_text("\n".join(MODELNET40))
    stem = name.removesuffix(".txt")
    (folder / "modelnet40_train.txt").write_text(
        "\n".join([*(f"{one}_{0}" for one in MODELNET40), f"chair_/{stem}" if "/" in name or "\\" in name else stem])
    )
    (folder / "modelnet40_test.txt").write_text("\n".join(f"{one}_1" for one in MODELNET40))
    return {"kind": "modelnet40", "path": str(folder), "preparation": {"points": 16}}


def vtab(folder: Path, name: str) -> dict[str, Any]:
    (folder / "eurosat").mkdir(exist_ok=True)
    (folder / "eurosat" / "images").mkdir(exist_ok=True)
    for i in range(10):
        (folder / "eurosat" / "images" / f"{i}.png").write_bytes(picture())
    lines = "\n".join(f"images/{i}.png {i}" for i in range(10))
    (folder / "eurosat" / "train800val200.txt").write_text(f"{lines}\n../{name} 0" if name != "images/0.png" else lines)
    (folder / "eurosat" / "test.txt").write_text(lines)
    return {"kind": "vtab", "path": str(folder), "task": "eurosat", "preparation": {"size": 16}}


def hub(folder: Path, name: str) -> dict[str, Any]:
    import datasets

    rows = {"cloud": RNG.normal(size=(12, 40, 3)).astype(np.float32).tolist(), "label": [i % 3 for i in range(12)]}
    (folder / "data").mkdir(exist_ok=True)
    datasets.Dataset.from_dict(rows).to_parquet(str(folder / "data" / "t.parquet"))
    datasets.Dataset.from_dict(rows).to_parquet(str(folder.parent / "secret.parquet"))
    front = json.dumps({"configs": [{"config_name": "default", "data_files": [{"split": "train", "path": name}]}]})
    (folder / "README.md").write_text(f"---\n{front}\n---\n")
    return {"kind": "hub", "repository": str(folder), "preparation": {"points": 40}}


READERS: dict[str, tuple[Callable[[Path, str], dict[str, Any]], str, str]] = {
    # kind: (writes a data set whose list names a file, an honest name, the ending of what an attacker wants)
    "folder": (cloud_list, "0.xyz", "xyz"),
    "images": (image_list, "0.png", "png"),
    "modelnet40": (modelnet, "chair_1.txt", "txt"),
    "vtab": (vtab, "images/0.png", "png"),
    "hub": (hub, "data/*.parquet", "parquet"),
}
NO_NAMES = {
    "demo": "is made, not read",
    "h5": "names no files",
    "scanobjectnn": "has fixed names",
    "fewshot": "reads pickles of fixed names, or another data set",
    "parts": "has fixed names",
    "shapenetpart": "takes the last part of each entry alone",
}


def test_every_kind_of_data_set_has_a_case() -> None:
    kinds = {cls.model_fields["kind"].default for cls in get_args(get_args(DataConfig)[0])}
    assert kinds == set(READERS) | set(NO_NAMES)


@pytest.mark.parametrize("kind", READERS)
def test_no_spelling_leads_out_of_an_upload(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path / "kept"))
    write, honest, suffix = READERS[kind]
    secret = folder.parent / f"secret.{suffix}"
    for name in spellings(secret, folder):
        content = write(folder, name)
        with pytest.raises(UserError) as error:
            reads(content)
            pytest.fail(f"read by the name {name!r}")
        assert str(folder) not in str(error.value), name
    other = tmp_path / "uploads" / UPLOAD[::-1]
    (other / "sub").mkdir(parents=True)
    assert len(reads(write(other, honest)).train) >= 6


def test_a_foreign_file_s_existence_is_not_told(folder: Path) -> None:
    told = []
    for name in ("../secret.xyz", "../absent.xyz"):
        with pytest.raises(UserError) as error:
            reads(cloud_list(folder, name))
        told.append(str(error.value).replace(name, ""))
    assert told[0] == told[1]


def test_links_of_an_upload_are_not_followed(folder: Path) -> None:
    for label in "ab":
        (folder / "set" / label).mkdir(parents=True)
        for i in range(4):
            (folder / "set" / label / f"{i}.xyz").write_bytes(table())
    (folder / "set" / "a" / "stolen.xyz").symlink_to(folder.parent / "secret.xyz")
    (folder / "set" / "c").symlink_to(folder.parent)
    parts = reads({"kind": "folder", "path": str(folder / "set"), "test_share": 0.25})
    assert parts.classes == ("a", "b") and not any("stolen" in name for name in parts.train.names)
    with pytest.raises(UserError):
        read_points(folder / "set" / "a" / "stolen.xyz", count=10, rng=RNG)


def test_the_operator_s_own_links_and_lists_work(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for label in "ab":
        (elsewhere / label).mkdir(parents=True)
        for i in range(4):
            (elsewhere / label / f"{i}.xyz").write_bytes(table())
    own = tmp_path / "own"
    own.mkdir()
    for label in "ab":
        (own / label).symlink_to(elsewhere / label)
    assert len(reads({"kind": "folder", "path": str(own), "test_share": 0.25}).train) == 6
    rows = [f"{elsewhere / label}/{i}.xyz,{label}" for label in "ab" for i in range(4)]
    (own / "list.csv").write_text("\n".join(rows))
    assert len(reads({"kind": "folder", "path": str(own / "list.csv"), "test_share": 0.25}).train) == 6


@pytest.mark.parametrize("honest", [False, True])
def test_a_gltf_reads_buffers_beside_it_alone(folder: Path, honest: bool) -> None:
    points = RNG.normal(size=(9, 3)).astype("<f4")
    for place in (folder.parent / "secret.bin", folder / "own.bin"):
        place.write_bytes(points.tobytes())
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")

    def write(uri: str) -> Path:
        document = {
            "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 4}]}],
            "accessors": [{"bufferView": 0, "componentType": 5126, "count": 9, "type": "VEC3"}],
            "bufferViews": [{"buffer": 0, "byteLength": 108}], "buffers": [{"uri": uri, "byteLength": 108}],
        }  # fmt: skip
        (folder / "mesh.gltf").write_text(json.dumps(document))
        return folder / "mesh.gltf"

    if honest:
        inline = "data:application/octet-stream;base64," + base64.b64encode(points.tobytes()).decode()
        for uri in ("own.bin", "./own.bin", "%6Fwn.bin", inline):
            assert len(read_points(write(uri), count=20, rng=RNG)) == 20
        return
    for uri in [
        *spellings(folder.parent / "secret.bin", folder),
        "%2e%2e/secret.bin",
        "%252e%252e/secret.bin",
        "..%2fsecret.bin",
    ]:
        with pytest.raises(UserError):
            read_points(write(uri), count=20, rng=RNG)


def test_an_hdf5_file_brings_its_own_arrays(folder: Path) -> None:
    with h5py.File(folder.parent / "secret.h5", "w") as file:
        file["data"], file["label"] = RNG.normal(size=(6, 20, 3)), np.arange(6) % 2
    layout = h5py.VirtualLayout((6, 20, 3), "f8")
    layout[:] = h5py.VirtualSource(str(folder.parent / "secret.h5"), "data", (6, 20, 3))
    makers: dict[str, Callable[[Any], None]] = {
        "external": lambda file: file.__setitem__("data", h5py.ExternalLink(str(folder.parent / "secret.h5"), "data")),
        "virtual": lambda file: file.create_virtual_dataset("data", layout),
        "raw": lambda file: file.create_dataset(
            "data", (6, 20, 3), "f8", external=[(str(folder.parent / "secret.h5"), 0, 2880)]
        ),
    }
    for name, make in makers.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["label"] = np.arange(6) % 2
            make(file)
        with pytest.raises(UserError):
            reads({"kind": "h5", "train": str(folder / f"{name}.h5")})
    (folder / "linked.h5").symlink_to(folder.parent / "secret.h5")
    with pytest.raises(UserError):
        reads({"kind": "h5", "train": str(folder / "linked.h5")})
    assert len(reads({"kind": "h5", "train": str(folder.parent / "secret.h5")}).train) == 6


def test_members_of_archives_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "secret.xyz").write_bytes(table())
    for i, name in enumerate(spellings(tmp_path / "secret.xyz", tmp_path)):
        with zipfile.ZipFile(tmp_path / f"{i}.zip", "w") as archive:
            for label in "ab":
                for number in range(4):
                    archive.writestr(f"{label}/{number}.xyz", table())
            archive.writestr("list.csv", f'"{name}",a\na/0.xyz,b' if '"' not in name else f"{name},a\na/0.xyz,b")
        # Sound class folders come first; the list beside them is not obeyed.
        assert len(reads({"kind": "folder", "path": str(tmp_path / f"{i}.zip"), "test_share": 0.25}).train) == 6


def test_names_are_judged_by_where_they_lie(tmp_path: Path) -> None:
    assert confinement(tmp_path / "uploads" / UPLOAD / "a" / "b.xyz") == tmp_path / "uploads" / UPLOAD
    assert confinement(tmp_path / "uploads" / "short" / "b.xyz") is None
    base = tmp_path / "uploads" / UPLOAD
    base.mkdir(parents=True)
    for honest in ("a.xyz", "./a b.xyz", "ä/椅子.ply", "a..b.xyz", "ab:y.png", "a/.../b.xyz"):
        assert listed_file(base, honest, "list.csv") == base / honest == inside(base, honest, "list.csv")
    with pytest.raises(UserError):
        read_cloud_list(base / "absent.csv")


def test_a_zip_that_promises_a_huge_directory_is_not_opened(tmp_path: Path) -> None:
    honest = tmp_path / "honest.zip"
    with zipfile.ZipFile(honest, "w") as archive:
        for i in range(300):
            archive.writestr(f"a/{i}.xyz", "0 0 0")
    assert data_kind(honest) == "folder"
    content = honest.read_bytes()
    at = content.rfind(b"PK\x05\x06")
    claimed = content[: at + 12] + (1 << 30).to_bytes(4, "little") + content[at + 16 :]
    (tmp_path / "claims.zip").write_bytes(claimed)
    with pytest.raises(UserError):
        data_kind(tmp_path / "claims.zip")
    (tmp_path / "broken.zip").write_bytes(content[:100] + content[at:])
    assert data_kind(tmp_path / "broken.zip") in ("folder", None)
