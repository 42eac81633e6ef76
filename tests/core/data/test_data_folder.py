"""A folder or zip of class folders: its layouts, its notes, and each way in which it can be unsound."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from pointsmith.core.data.archive import unpacked
from pointsmith.core.data.clouds import Preparation
from pointsmith.core.data.config import FolderData, H5Data
from pointsmith.core.data.dataset import Dataset
from pointsmith.core.data.folder import read_folder
from pointsmith.core.data.load import load
from pointsmith.core.errors import UserError

from tests.support.paths import SHARED

CAPOD = SHARED / "capod" / "meshes"
TRIANGLE = "v 0 0 0\nv 1 0 {}\nv 0 1 0\nf 1 2 3\n"


def fill(folder: Path, count: int = 5, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        (folder / f"m{index}.obj").write_text(TRIANGLE.format(index))
    return folder


def dataset(root: Path, **changes: object) -> FolderData:
    return FolderData.model_validate({"path": root, "preparation": Preparation(points=32), **changes})


def refused(config: FolderData, least: int = 1) -> str:
    with pytest.raises(UserError) as caught:
        load(config, least=least)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def zipped(folder: Path, target: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, Path(inside) / path.relative_to(folder))
    return target


def same(a: Dataset, b: Dataset) -> bool:
    parts = [(a.train, b.train), (a.validation, b.validation), (a.test, b.test)]
    return a.fingerprint == b.fingerprint and all(
        one is not None
        and two is not None
        and np.array_equal(one.points, two.points)
        and np.array_equal(one.labels, two.labels)
        and one.names == two.names
        for one, two in parts
    )


def test_plain_class_folders(tmp_path: Path):
    fill(tmp_path / "d" / "zebra", 10)
    fill(tmp_path / "d" / "apple", 5)
    data = load(dataset(tmp_path / "d"))
    assert data.classes == ("apple", "zebra")
    assert data.validation is not None and data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 1 + 1, 2 + 1]
    assert data.train.points.shape == (10, 32, 3) and data.train.points.dtype == np.float32
    for part in (data.train, data.validation, data.test):
        assert all(
            name.split("/")[0] == data.classes[label] for name, label in zip(part.names, part.labels, strict=True)
        )
        assert np.allclose(np.linalg.norm(part.points, axis=2).max(axis=1), 1, atol=1e-5)
    names = [*data.train.names, *data.validation.names, *data.test.names]
    assert len(set(names)) == len(names) == 15


def test_given_parts_are_kept(tmp_path: Path):
    for part in ("Train", "test", "val"):
        for name in ("a", "b"):
            fill(tmp_path / part / name, 4)
    data = load(dataset(tmp_path))
    assert data.validation is not None and data.test is not None
    assert len(data.train) == 8 and {name.split("/")[0] for name in data.train.names} == {"Train"}
    assert len(data.test) == 8 and {name.split("/")[0] for name in data.test.names} == {"test"}
    assert len(data.validation) == 8 and {name.split("/")[0] for name in data.validation.names} == {"val"}


def test_the_test_part_is_the_same_whatever_is_held_out(tmp_path: Path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            fill(tmp_path / part / name, 6)
    one, two = load(dataset(tmp_path, validation=0.0)), load(dataset(tmp_path, validation=0.5))
    assert one.validation is None and one.test is not None and two.test is not None
    assert np.array_equal(one.test.points, two.test.points) and one.test.names == two.test.names


def test_parts_inside_the_class_folders(tmp_path: Path):
    for name in ("a", "b"):
        for part in ("train", "test"):
            fill(tmp_path / name / part, 3)
    parts = read_folder(dataset(tmp_path))
    assert parts.classes == ("a", "b") and parts.test is not None
    assert len(parts.train) == 6 and set(parts.test.names) == {f"{c}/test/m{i}.obj" for c in "ab" for i in range(3)}


def test_a_class_may_be_called_train(tmp_path: Path):
    for name in ("train", "bus"):
        fill(tmp_path / name)
    assert read_folder(dataset(tmp_path)).classes == ("bus", "train")


def test_what_is_not_a_cloud_is_ignored_and_counted(tmp_path: Path):
    for name in ("a", "b"):
        fill(tmp_path / name)
    clean = read_folder(dataset(tmp_path))
    (tmp_path / "readme.md").write_text("hello")
    (tmp_path / "a" / ".hidden.obj").write_text("hello")
    (tmp_path / "a" / "thumb.png").write_bytes(b"hello")
    fill(tmp_path / "__MACOSX" / "a", 1)
    fill(tmp_path / ".cache" / "a", 1)
    parts = read_folder(dataset(tmp_path))
    assert np.array_equal(parts.train.points, clean.train.points)
    assert any(note.startswith("5 files were ignored") for note in parts.notes)
    assert not any("ignored" in note for note in clean.notes)


def test_unreadable_files_are_named_and_skipped(tmp_path: Path):
    for name in ("a", "b"):
        fill(tmp_path / name)
    (tmp_path / "a" / "empty.obj").touch()
    (tmp_path / "b" / "nan.obj").write_text(TRIANGLE.format("nan"))
    np.save(tmp_path / "b" / "small.npy", np.ones((3, 3)))
    parts = read_folder(dataset(tmp_path), least=16)
    notes = "\n".join(parts.notes)
    assert "a/empty.obj cannot be read: the file is empty" in notes
    assert "b/nan.obj" in notes and "NaN" in notes
    assert "b/small.npy has too few points: 3. Expected at least 16" in notes
    assert parts.test is not None and len(parts.train) + len(parts.test) == 10


def test_clouds_of_other_sizes(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        fill(tmp_path / name, 2)
    big, small, batch = rng.normal(size=(100, 3)), rng.normal(size=(20, 3)), rng.normal(size=(3, 32, 3))
    np.save(tmp_path / "a" / "big.npy", big.astype(np.float32))
    np.save(tmp_path / "a" / "small.npy", small.astype(np.float32))
    np.save(tmp_path / "b" / "batch.npy", batch.astype(np.float32))
    parts = read_folder(dataset(tmp_path, test_share=0.0))
    at = {name: cloud for name, cloud in zip(parts.train.names, parts.train.points, strict=True)}
    kept = {tuple(point) for point in at["a/big.npy"]}
    assert len(kept) == 32 and kept <= {tuple(point) for point in big.astype(np.float32)}
    assert {tuple(point) for point in at["a/small.npy"]} == {tuple(point) for point in small.astype(np.float32)}
    for index in range(3):
        assert np.array_equal(at[f"b/batch.npy[{index}]"], batch[index].astype(np.float32))
    assert any("1 clouds had more than 32 points" in note for note in parts.notes)
    assert any("1 clouds had fewer than 32 points" in note for note in parts.notes)


def test_one_more_file_changes_no_other_cloud(tmp_path: Path):
    for name in ("a", "b"):
        fill(tmp_path / name)
    config = dataset(tmp_path, test_share=0.0)
    before = read_folder(config).train
    fill(tmp_path / "a", 1, first=77)
    after = read_folder(config).train
    rest = np.array([index for index, name in enumerate(after.names) if name != "a/m77.obj"])
    assert np.array_equal(after.take(rest).points, before.points)
    other = read_folder(dataset(tmp_path, test_share=0.0, split_seed=1)).train
    assert not np.array_equal(other.points, after.points)


def test_progress_reaches_the_end(tmp_path: Path):
    for name in ("a", "b"):
        fill(tmp_path / name, 3)
    seen: list[tuple[int, int]] = []
    load(dataset(tmp_path), progress=lambda what, done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]


# --- what leaves no sound data set


def test_unsound_folders(tmp_path: Path):
    root = tmp_path / "d"
    assert "does not exist" in refused(dataset(root))
    root.mkdir()
    assert "no class folder" in refused(dataset(root))
    fill(root / "a")
    assert "single class" in refused(dataset(root))
    (root / "b").mkdir()
    assert "class folder b" in refused(dataset(root)) and "no mesh or cloud" in refused(dataset(root))
    fill(root / "b", 1)
    assert "class b has too few clouds" in refused(dataset(root))
    (root / "b" / "bad.obj").write_text(TRIANGLE.format("nan"))
    message = refused(dataset(root))
    assert "class b has too few clouds in the train part: 1" in message and "b/bad.obj" in message
    (tmp_path / "notes.pdf").write_text("x")
    assert "folder or a .zip" in refused(dataset(tmp_path / "notes.pdf"))


def test_classes_of_train_and_test_must_agree(tmp_path: Path):
    for name in ("a", "b"):
        fill(tmp_path / "train" / name)
    fill(tmp_path / "test" / "a")
    assert "['b']" in refused(dataset(tmp_path))
    fill(tmp_path / "test" / "b")
    fill(tmp_path / "test" / "c")
    assert "['c']" in refused(dataset(tmp_path))


def test_no_cloud_of_enough_points(tmp_path: Path):
    for name in ("a", "b"):
        for index in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            np.save(tmp_path / name / f"{index}.npy", np.random.default_rng(index).normal(size=(20, 3)))
    message = refused(dataset(tmp_path), least=24)
    assert "class a has too few clouds" in message and "a/0.npy has too few points: 20" in message
    assert "preparation.points" in refused(dataset(tmp_path), least=64)


def test_every_part_must_hold_every_class(tmp_path: Path):
    for name in ("a", "b"):
        fill(tmp_path / name, 2)
    message = refused(dataset(tmp_path))  # two clouds cannot fill three parts
    assert "class a has too few clouds to hold some out for the validation: 1" in message
    assert len(load(dataset(tmp_path, validation=0.0)).train) == 2


# --- zips


def test_a_zip_equals_its_folder_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("a", "b"):
        fill(tmp_path / "d" / name)
    (tmp_path / "d" / "a" / "ignored.png").touch()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    expected = load(dataset(tmp_path / "d"))
    for inside in ("", "outer/inner"):
        data = load(dataset(zipped(tmp_path / "d", tmp_path / "d.zip", inside)))
        assert same(data, expected) and data.notes == expected.notes
    (tmp_path / "bad.zip").write_bytes((tmp_path / "d.zip").read_bytes()[:-30])
    assert "bad.zip cannot be unpacked" in refused(dataset(tmp_path / "bad.zip"))
    assert not list(temporary.iterdir())


def archive(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name", ["../evil.obj", "a/../../evil.obj", "/evil.obj", "C:\\evil.obj", "..\\evil.obj", "a\\..\\..\\evil.obj"]
)
def test_a_member_may_not_land_outside(tmp_path: Path, name: str):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = archive(inner / "d.zip", ("a/m.obj", b"v 0 0 0"), (name, b"evil"))
    assert "outside the archive" in refused(dataset(path))
    assert not list(tmp_path.rglob("evil*"))


def test_links_nested_archives_and_twins_are_refused(tmp_path: Path):
    link = zipfile.ZipInfo("a/link.obj")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "symbolic link" in refused(dataset(archive(tmp_path / "l.zip", (link, b"/etc/passwd"))))
    assert "another archive" in refused(dataset(archive(tmp_path / "n.zip", ("a/more.zip", b"PK"))))
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = archive(tmp_path / "t.zip", ("a/m.obj", b"1"), ("a/m.obj", b"2"))
    assert "cannot be unpacked" in refused(dataset(path))


def test_caps_on_members_and_bytes(tmp_path: Path):
    path = archive(tmp_path / "d.zip", *((f"a/{index}.obj", bytes(100)) for index in range(20)))
    with pytest.raises(UserError, match="too many files: 20"), unpacked(path, max_members=19):
        pass
    with pytest.raises(UserError, match="too many bytes: 2000"), unpacked(path, max_bytes=1999):
        pass
    bomb = archive(tmp_path / "bomb.zip", ("a/bomb.obj", bytes(40 << 20)))
    assert "unpacks to 41943040 bytes" in refused(dataset(bomb))


def test_what_is_no_zip(tmp_path: Path):
    (tmp_path / "d.zip").write_text("this is no zip")
    assert "cannot be unpacked" in refused(dataset(tmp_path / "d.zip"))
    (tmp_path / "e.zip").touch()
    assert "cannot be unpacked" in refused(dataset(tmp_path / "e.zip"))
    damaged = bytearray(archive(tmp_path / "c.zip", ("a/m.obj", os.urandom(5000))).read_bytes())
    damaged[2000] ^= 255
    (tmp_path / "c.zip").write_bytes(damaged)
    assert "CRC" in refused(dataset(tmp_path / "c.zip"))


# --- real meshes


@pytest.mark.skipif(not CAPOD.is_dir(), reason="the shared data are not here")
def test_capod_as_folder_as_zip_and_as_hdf5(tmp_path: Path):
    chosen = tmp_path / "capod"
    for folder in sorted(CAPOD.iterdir())[:5]:
        (chosen / folder.name).mkdir(parents=True)
        for mesh in sorted(folder.iterdir())[:5]:
            shutil.copyfile(mesh, chosen / folder.name / mesh.name)
    config = FolderData(path=chosen, preparation=Preparation(points=512))
    data = load(config, least=32)
    assert data.test is not None and data.validation is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [15, 5, 5]
    assert not any("skipped" in note for note in data.notes)
    packed = load(config.model_copy(update={"path": zipped(chosen, tmp_path / "capod.zip", "capod")}), least=32)
    assert same(data, packed)
    # The same clouds once more as HDF5: sampled and normalised already, so taken as they are.
    plain = load(config.model_copy(update={"validation": 0.0}), least=32)
    for part, clouds in (("train", plain.train), ("test", plain.test)):
        with h5py.File(tmp_path / f"{part}.h5", "w") as file:
            file["data"], file["label"] = clouds.points, clouds.labels
    (tmp_path / "names.txt").write_text("\n".join(plain.classes))
    stored = load(
        H5Data(
            train=tmp_path / "train.h5",
            test=tmp_path / "test.h5",
            classes=tmp_path / "names.txt",
            validation=0.0,
            preparation=Preparation(points=512, normalize="none"),
        )
    )
    assert stored.classes == plain.classes
    for found, wanted in ((stored.train, plain.train), (stored.test, plain.test)):
        assert np.array_equal(found.points, wanted.points) and np.array_equal(found.labels, wanted.labels)
