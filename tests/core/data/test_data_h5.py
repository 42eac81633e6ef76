"""HDF5 in ScanObjectNN's layout: exact coordinates, class names from where they are found, faults with reasons."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from pointsmith.core.data.clouds import Preparation
from pointsmith.core.data.config import H5Data
from pointsmith.core.data.load import load
from pointsmith.core.errors import UserError

from tests.support.paths import SHARED

CAPOD = SHARED / "capod" / "h5"


def clouds(count: int = 12, points: int = 40) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, points, 3)).astype(np.float32) * 7 + 1


def write(path: Path, data: np.ndarray | None, label: np.ndarray | None, **more: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, value in {"data": data, "label": label, **more}.items():
            if value is not None:
                file[key] = value
    return path


def config(train: Path, test: Path | None = None, points: int = 40, **changes: object) -> H5Data:
    preparation = Preparation(points=points, normalize="none")
    return H5Data.model_validate({"train": train, "test": test, "preparation": preparation, **changes})


def refused(given: H5Data, least: int = 1) -> str:
    with pytest.raises(UserError) as caught:
        load(given, least=least)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_coordinates_are_taken_as_they_are(tmp_path: Path):
    data, label = clouds(), np.arange(12) % 3
    path = write(tmp_path / "train.h5", data, label, mask=np.zeros((12, 40)))
    loaded = load(config(path, validation=0.0))
    assert np.array_equal(loaded.train.points, data) and np.array_equal(loaded.train.labels, label)
    assert loaded.classes == ("class 0", "class 1", "class 2") and loaded.test is None and loaded.validation is None
    assert loaded.train.labels.dtype == np.int64 and loaded.train.names[5] == "train[5]"
    assert any("numbered" in note for note in loaded.notes)


def test_validation_is_cut_from_train_and_test_is_left_alone(tmp_path: Path):
    label = np.arange(12) % 3
    train = write(tmp_path / "train.h5", clouds(), label, name=np.array([b"n%d" % i for i in range(12)]))
    test = write(tmp_path / "test.h5", clouds()[::-1].astype(np.float64), label[:, None].astype(np.uint8))
    one, two = (load(config(train, test, split_seed=seed, validation=0.25)) for seed in (0, 1))
    assert one.validation is not None and two.validation is not None and one.test is not None and two.test is not None
    assert len(one.train) == 9 and np.bincount(one.validation.labels).tolist() == [1, 1, 1]
    assert set(one.train.names) | set(one.validation.names) == {f"n{i}" for i in range(12)}
    assert one.validation.names != two.validation.names
    assert np.array_equal(one.test.points, clouds()[::-1]) and np.array_equal(one.test.points, two.test.points)


def test_other_sizes_are_noted(tmp_path: Path):
    path = write(tmp_path / "train.h5", clouds(), np.arange(12) % 3)
    fewer = load(config(path, points=16, validation=0.0))
    for stored, kept in zip(clouds(), fewer.train.points, strict=True):
        rows = {tuple(point) for point in kept}
        assert len(rows) == 16 and rows <= {tuple(point) for point in stored}
    assert any("subset of 16" in note for note in fewer.notes)
    assert np.array_equal(fewer.train.points, load(config(path, points=16, validation=0.0)).train.points)
    more = load(config(path, points=50, validation=0.0))
    assert np.array_equal(more.train.points[:, :40], clouds()) and any("come twice" in note for note in more.notes)
    assert "too few points: 40" in refused(config(path, points=64), least=50)


def test_class_names(tmp_path: Path):
    label = np.arange(15)
    scan = write(tmp_path / "s" / "training_objectdataset.h5", clouds(15), label)
    assert load(config(scan, validation=0.0)).classes[:3] == ("bag", "bin", "box")
    plain = write(tmp_path / "p" / "train.h5", clouds(15), label)
    (tmp_path / "p" / "shape_names.txt").write_text("\n".join(f"n{i}" for i in range(15)) + "\n")
    assert load(config(plain, validation=0.0)).classes[14] == "n14"
    (tmp_path / "own.txt").write_text("\n".join(f"own{i}" for i in range(15)))
    assert load(config(plain, validation=0.0, classes=tmp_path / "own.txt")).classes[0] == "own0"
    (tmp_path / "short.txt").write_text("a\nb\n")
    assert "no class fits: 2. Expected labels from 0 to 1" in refused(config(plain, classes=tmp_path / "short.txt"))
    (tmp_path / "long.txt").write_text("\n".join(f"own{i}" for i in range(16)))
    assert "class own15 has too few clouds" in refused(config(plain, classes=tmp_path / "long.txt"))
    (tmp_path / "twin.txt").write_text("a\na\n")
    assert "all different" in refused(config(plain, classes=tmp_path / "twin.txt"))
    assert "cannot be read" in refused(config(plain, classes=tmp_path / "gone.txt"))


def test_a_test_class_without_clouds_is_noted(tmp_path: Path):
    train = write(tmp_path / "train.h5", clouds(), np.arange(12) % 3)
    test = write(tmp_path / "test.h5", clouds(4), np.array([0, 1, 1, 0]))
    assert "no test cloud for: class 2" in load(config(train, test)).notes


def bad(data: np.ndarray, at: tuple[int, ...], value: float) -> np.ndarray:
    data[at] = value
    return data


@pytest.mark.parametrize(
    ("data", "label", "reason"),
    [
        (None, np.arange(12), "no array data"),
        (clouds(), None, "no array label"),
        (clouds()[0], np.arange(12), "data has another form"),
        (clouds()[:, :, :2], np.arange(12), "data has another form"),
        (np.array(b"text"), np.arange(12), "data has another form"),
        (clouds()[:0], np.arange(0), "data is empty"),
        (clouds(), np.arange(11), "label does not fit data"),
        (clouds(), np.zeros((12, 2), int), "label does not fit data"),
        (clouds(), np.arange(12) - 1, "labels that no class fits: -1"),
        (clouds(), np.arange(12) / 2, "no whole numbers"),
        (clouds(), np.full(12, 10**9), "larger than its number"),
        (clouds(), np.zeros(12, int), "single class"),
        (clouds(), np.arange(12) % 3 * 2, "class class 1 has too few clouds"),
        (bad(clouds(), (4, 3, 2), np.nan), np.arange(12) % 3, "the first is cloud 4"),
        (bad(clouds(), (7, 3, 2), np.inf), np.arange(12) % 3, "the first is cloud 7"),
    ],
)
def test_files_of_another_layout(tmp_path: Path, data: np.ndarray | None, label: np.ndarray | None, reason: str):
    path = write(tmp_path / "train.h5", data, label)
    assert reason in refused(config(path))


def test_files_that_cannot_be_opened(tmp_path: Path):
    assert "does not exist" in refused(config(tmp_path / "gone.h5"))
    path = write(tmp_path / "train.h5", clouds(), np.arange(12) % 3)
    data = path.read_bytes()
    for length in (0, 100, len(data) // 2, len(data) - 64):
        path.write_bytes(data[:length])
        assert "cannot be read as HDF5" in refused(config(path))
    path.write_bytes(data)
    message = refused(config(path, tmp_path / "other.h5"))
    assert "does not exist" in message and "other.h5" in message


def test_a_test_label_beyond_the_classes(tmp_path: Path):
    train = write(tmp_path / "train.h5", clouds(), np.arange(12) % 3)
    test = write(tmp_path / "test.h5", clouds(2), np.array([0, 3]))
    assert "class class 3 has too few clouds in the train part" in refused(config(train, test))


def test_data_may_not_lie_in_another_file(tmp_path: Path):
    other = write(tmp_path / "other.h5", clouds(), np.arange(12) % 3)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["data"] = h5py.ExternalLink(str(other), "data")
        file["label"] = np.arange(12) % 3
    assert "is a link" in refused(config(tmp_path / "link.h5"))
    layout = h5py.VirtualLayout(shape=(12, 40, 3), dtype="f4")
    layout[:] = h5py.VirtualSource(str(other), "data", shape=(12, 40, 3))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
        file["label"] = np.arange(12) % 3
    assert "another file" in refused(config(tmp_path / "virtual.h5"))


def test_a_shape_larger_than_its_file(tmp_path: Path):
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("data", shape=(10**7, 2048, 3), dtype="f4", chunks=(1, 2048, 3))
        file["label"] = np.arange(12) % 3
    assert "claims" in refused(config(tmp_path / "bomb.h5"))


@pytest.mark.skipif(not CAPOD.is_dir(), reason="the shared data are not here")
def test_capod():
    given = H5Data(train=CAPOD / "train.h5", test=CAPOD / "test.h5", preparation=Preparation(points=2048))
    data = load(given, least=128)
    assert data.validation is not None and data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [105, 15, 60]
    assert data.classes[0] == "Airplane" and len(data.classes) == 15
    raw = load(given.model_copy(update={"preparation": Preparation(points=2048, normalize="none"), "validation": 0.0}))
    with h5py.File(CAPOD / "train.h5") as file:
        assert np.array_equal(raw.train.points, file["data"][()])
    assert raw.fingerprint != data.fingerprint
