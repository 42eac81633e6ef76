"""ScanObjectNN and ModelNet40 as they lie on disk: every layout in miniature, exact numbers, faults with reasons."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pointsmith.core.config import parse_config
from pointsmith.core.data import modelnet_files
from pointsmith.core.data.augment import AugmentConfig
from pointsmith.core.data.clouds import Clouds, normalize
from pointsmith.core.data.config import ModelNet40Data, ScanObjectNNData
from pointsmith.core.data.load import load
from pointsmith.core.data.names import MODELNET10, MODELNET40, SCANOBJECTNN
from pointsmith.core.errors import UserError
from pointsmith.core.models.grouping import farthest_points
from pointsmith.core.training.train import train

from tests.support.layouts import clouds, modelnet_dat, modelnet_h5, modelnet_off, modelnet_txt, scanobjectnn_tree
from tests.support.paths import SHARED
from tests.support.tiny import BACKBONE

LISTS = SHARED / "lists"
RAW = {"normalize": "none"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path / "cache"))


def scan(path: Path | None, variant: str = "hardest", points: int = 64, **more: Any) -> ScanObjectNNData:
    preparation = {"points": points, "normalize": "none"}
    content = {"path": path, "variant": variant, "preparation": preparation, "validation": 0.0, **more}
    return ScanObjectNNData.model_validate(content)


def net(path: Path, points: int = 32, normalize: str = "none", **more: Any) -> ModelNet40Data:
    preparation = {"points": points, "normalize": normalize}
    return ModelNet40Data.model_validate({"path": path, "preparation": preparation, "validation": 0.0, **more})


def parts(dataset: Any) -> dict[str, Clouds]:
    assert isinstance(dataset.train, Clouds) and isinstance(dataset.test, Clouds)
    return {"train": dataset.train, "test": dataset.test}


def refused(config: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("variant", ["objbg", "objonly", "hardest"])
def test_scanobjectnn_from_the_official_tree(tmp_path: Path, variant: str) -> None:
    written = scanobjectnn_tree(tmp_path / "data" / "ScanObjectNN" / "h5_files")[variant]
    for place in ("data/ScanObjectNN/h5_files", "data/ScanObjectNN", "data"):
        found = load(scan(tmp_path / place, variant))
        for part, split in parts(found).items():
            assert np.array_equal(split.points, written[part][0]) and np.array_equal(split.labels, written[part][1])
    assert found.classes == SCANOBJECTNN
    assert any("2882" in note or "581" in note for note in found.notes) and "cannot be compared" in found.notes[0]


def test_scanobjectnn_from_a_zip_takes_only_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = scanobjectnn_tree(tmp_path / "h5_files")
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "h5_files").rglob("*.h5")):
            archive.write(file, file.relative_to(tmp_path))
        archive.writestr("h5_files/main_split/nested.zip", b"another archive, of no interest here")
        archive.writestr("h5_files/split1/training_objectdataset.h5", b"other splits are not touched")
    found = load(scan(tmp_path / "all.zip", "objonly"))
    assert np.array_equal(parts(found)["test"].points, written["objonly"]["test"][0])


def test_scanobjectnn_is_told_apart_by_folders_alone(tmp_path: Path) -> None:
    scanobjectnn_tree(tmp_path / "h5")
    direct = load(scan(tmp_path / "h5" / "main_split_nobg", "objonly"))
    assert direct.fingerprint == load(scan(tmp_path / "h5", "objonly")).fingerprint
    assert direct.fingerprint != load(scan(tmp_path / "h5", "objbg")).fingerprint
    shutil.copytree(tmp_path / "h5" / "main_split", tmp_path / "renamed")
    assert "Keep the folders' names" in refused(scan(tmp_path / "renamed", "objbg"))
    shutil.copytree(tmp_path / "h5", tmp_path / "h5" / "copy")
    assert "more than once" in refused(scan(tmp_path / "h5", "objbg"))
    assert "does not exist" in refused(scan(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"data\.path is missing"):
        ScanObjectNNData()


def test_scanobjectnn_in_the_hubs_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    folder = tmp_path / "scanobjectnn" / "data"
    folder.mkdir(parents=True)
    written = {}
    for seed, split in enumerate(("nobg_train", "nobg_test", "bg_train", "bg_test", "hardest_train", "hardest_test")):
        data, label = clouds(30, 40, seed), np.arange(30) % 15
        table = pa.table({"inputs": data.tolist(), "label": label})
        half = table.num_rows // 2
        for i, shard in enumerate((table.slice(0, half), table.slice(half))):
            pq.write_table(shard, folder / f"{split}-{i:05d}-of-00002-0123456789abcdef.parquet")
        written[split] = data
    given = scan(tmp_path / "scanobjectnn", "objonly", points=40, source="hub")
    found = load(given)
    assert np.array_equal(parts(found)["train"].points, written["nobg_train"])
    assert np.array_equal(parts(found)["test"].points, written["nobg_test"])
    assert np.array_equal(parts(load(given.model_copy(update={"variant": "objbg"})))["test"].points, written["bg_test"])
    ragged = pa.table({"inputs": [clouds(1, 40)[0].tolist(), clouds(1, 39)[0].tolist()], "label": [0, 1]})
    shutil.rmtree(folder)
    folder.mkdir()
    for part in ("train", "test"):
        pq.write_table(ragged, folder / f"hardest_{part}-00000-of-00001.parquet")
    assert "clouds of one size" in refused(given.model_copy(update={"variant": "hardest"}))
    for part in ("train", "test"):
        (folder / f"hardest_{part}-00000-of-00001.parquet").unlink()
        pq.write_table(ragged.rename_columns(["points", "label"]), folder / f"nobg_{part}-00000-of-00001.parquet")
    assert "no column inputs" in refused(given)
    assert "cannot be had" in refused(given.model_copy(update={"variant": "objbg"}))


def test_modelnet_text(tmp_path: Path) -> None:
    written = modelnet_txt(tmp_path)
    folder = tmp_path / "modelnet40_normal_resampled"
    said: list[tuple[str, int, int]] = []
    found = load(net(tmp_path, points=48), progress=lambda *what: said.append(what))
    train = parts(found)["train"]
    assert train.names[:3] == ("airplane_0001", "airplane_0002", "bathtub_0001") and len(parts(found)["test"]) == 80
    for points, label, name in zip(train.points, train.labels, train.names, strict=True):
        assert np.array_equal(points, written[name][:, :3]) and name.startswith(MODELNET40[label])
    assert found.classes == MODELNET40 and ("reading ModelNet40 (only the first time)", 80, 80) in said
    # What was read is kept: the files themselves are not opened again, until one changes.
    broken = folder / "xbox" / "xbox_0001.txt"
    stat, text = broken.stat(), broken.read_text()
    broken.write_text("#" * len(text))
    import os

    os.utime(broken, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load(net(tmp_path, points=48)).fingerprint == found.fingerprint
    os.utime(broken)
    assert "xbox_0001 cannot be read" in refused(net(tmp_path, points=48))
    broken.write_text(text.replace("\n", "\nnan,0,0,0,0,0\n", 1))
    assert "xbox_0001" in refused(net(tmp_path, points=48))
    broken.unlink()
    assert "1 files that ModelNet40's lists name are missing" in refused(net(tmp_path, points=48))


def test_modelnet_text_works_where_no_cache_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modelnet_txt(tmp_path, per_class=1)
    found = load(net(tmp_path, points=48))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path / "file"))
    assert load(net(tmp_path, points=48)).fingerprint == found.fingerprint


def test_modelnet_keeps_the_farthest_8192(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelnet_files, "STORED", 40)
    written = modelnet_txt(tmp_path, per_class=1)
    train = parts(load(net(tmp_path, points=40)))["train"]
    for points, name in zip(train.points, train.names, strict=True):
        raw = written[name][:, :3]
        start = int(np.flatnonzero((raw == points[0]).all(axis=1))[0])
        rolled = np.roll(raw, -start, axis=0)
        assert np.array_equal(points, rolled[farthest_points(torch.from_numpy(rolled)[None], 40)[0].numpy()])
    assert len({tuple(points[0]) for points in train.points}) == 40


@pytest.mark.skipif(not LISTS.is_dir(), reason="the shared lists are not here")
def test_modelnet_with_the_real_lists(tmp_path: Path) -> None:
    real = LISTS / "point-bert" / "data" / "ModelNet" / "modelnet40_normal_resampled"
    assert tuple((real / "modelnet40_shape_names.txt").read_text().split()) == MODELNET40
    folder = tmp_path / "modelnet40_normal_resampled"
    shutil.copytree(real, folder)
    for part, count in (("train", 9843), ("test", 2468)):
        names = (folder / f"modelnet40_{part}.txt").read_text().split()
        assert len(names) == count
        for name in names:
            place = folder / name.rpartition("_")[0]
            place.mkdir(exist_ok=True)
            (place / f"{name}.txt").write_text("0,0,0,0,0,1\n1,0,0,0,0,1\n" * 8)
    found = load(net(tmp_path, points=16))
    assert (len(found.train), len(found.test or ())) == (9843, 2468)
    assert found.notes == ("modelnet40: read from the resampled text clouds",)
    assert np.bincount(found.train.labels)[:3].tolist() == [626, 106, 515]
    ten = load(net(tmp_path, points=16, subset="modelnet10"))
    assert (len(ten.train), len(ten.test or ())) == (3991, 908) and ten.classes == MODELNET10


def test_modelnet_hdf5(tmp_path: Path) -> None:
    written = modelnet_h5(tmp_path)
    found = load(net(tmp_path, points=48))
    for part, split in parts(found).items():
        assert np.array_equal(split.points, written[part][0]) and np.array_equal(split.labels, written[part][1])
    (tmp_path / "modelnet40_ply_hdf5_2048" / "train_files.txt").unlink()
    assert load(net(tmp_path, points=48)).fingerprint == found.fingerprint
    assert "fewer points than wanted: 64. Expected preparation.points of at most 48" in refused(
        net(tmp_path, points=64)
    )
    (tmp_path / "modelnet40_ply_hdf5_2048" / "ply_data_test0.h5").write_bytes(b"")
    assert "ply_data_test0.h5 cannot be read" in refused(net(tmp_path))


def test_modelnet_caches_of_the_papers(tmp_path: Path) -> None:
    written = modelnet_dat(tmp_path / "a")
    found = load(net(tmp_path, points=48))
    for part, split in parts(found).items():
        assert np.array_equal(split.points, written[part][0]) and np.array_equal(split.labels, written[part][1])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in (tmp_path / "a").iterdir():
            archive.write(file, f"ModelNet/{file.name}")
    assert load(net(tmp_path / "a.zip", points=48)).fingerprint == found.fingerprint
    ten = parts(load(net(tmp_path / "a", points=48, subset="modelnet10")))["train"]
    kept = [MODELNET40.index(name) for name in MODELNET10]
    assert np.array_equal(ten.points, written["train"][0][kept]) and ten.labels.tolist() == list(range(10))


def test_modelnet_meshes_are_sampled_by_area(tmp_path: Path) -> None:
    modelnet_off(tmp_path, MODELNET10)
    found = load(net(tmp_path / "ModelNet40", points=8192, subset="modelnet10"))
    train = parts(found)["train"]
    assert (
        len(train) == 20 and train.points.shape == (20, 8192, 3) and train.names[0] == "bathtub/train/bathtub_0001.off"
    )
    for label in (0, 9):
        cloud = train.points[2 * label]
        assert np.allclose(cloud.max(axis=0), (1, 2, 3 + label), atol=0.02) and cloud.min() >= 0
        bottom = np.isclose(cloud[:, 2], 0).mean()  # a face of 1 x 2 of the box's whole surface
        assert abs(bottom - 2 / (2 * (2 + (3 + label) + 2 * (3 + label)))) < 0.02
    assert not np.array_equal(train.points[0], train.points[1])
    assert load(net(tmp_path / "ModelNet40", points=8192, subset="modelnet10")).fingerprint == found.fingerprint
    assert "class airplane has too few clouds" in refused(net(tmp_path / "ModelNet40", points=8192))


def test_modelnet_layouts_are_recognised_or_chosen(tmp_path: Path) -> None:
    modelnet_txt(tmp_path, per_class=1)
    modelnet_dat(tmp_path / "modelnet40_normal_resampled")
    assert "caches" in load(net(tmp_path)).notes[0]
    assert "text clouds" in load(net(tmp_path, layout="txt")).notes[0]
    assert "in the layout h5" in refused(net(tmp_path, layout="h5"))
    (tmp_path / "empty").mkdir()
    assert "not ModelNet40 in a known layout" in refused(net(tmp_path / "empty"))


def test_points_are_chosen_as_published(tmp_path: Path) -> None:
    written = modelnet_dat(tmp_path, points=400)
    given = net(tmp_path, points=64, normalize="unit-sphere")
    found, anew = load(given), load(given.model_copy(update={"sampling": "farthest-anew"}))
    whole = {part: np.stack([normalize(one, "unit-sphere") for one in data]) for part, (data, _) in written.items()}
    # Test: normalised as a whole, then the farthest 64 from the first point on, none of them near the origin.
    for sampled in (found, anew):
        test = parts(sampled)["test"].points
        order = farthest_points(torch.from_numpy(whole["test"]), 64, skip_origin=True).numpy()
        assert np.array_equal(test, np.take_along_axis(whole["test"], order[:, :, None], axis=1))
    # Training: a pool of 75 for 64 (1,200 for 1,024), or everything.
    assert parts(found)["train"].points.shape == (40, 75, 3)
    assert np.array_equal(parts(anew)["train"].points, whole["train"])
    inputs = torch.from_numpy(parts(anew)["train"].points)
    none = AugmentConfig(kind="none")
    drawn = [
        anew_config.vary(inputs.clone(), none, torch.Generator().manual_seed(seed))
        for anew_config in [given.model_copy(update={"sampling": "farthest-anew"})]
        for seed in (0, 0, 1)
    ]
    assert drawn[0].shape == (40, 64, 3) and torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    for cloud, source in zip(drawn[0], inputs, strict=True):
        assert {tuple(point) for point in cloud.tolist()} <= {tuple(point) for point in source.tolist()}

    def spread(points: torch.Tensor) -> float:
        """Mean distance to the nearest other point: larger for farthest points than for any."""
        return float(torch.cdist(points, points).add_(torch.eye(points.shape[1]) * 9).min(dim=2).values.mean())

    any_points = given.model_copy(update={"sampling": "random"}).vary(inputs, none, torch.Generator().manual_seed(0))
    assert spread(drawn[0]) > 1.15 * spread(any_points)


def test_held_out_clouds_are_judged_as_test_clouds_are(tmp_path: Path) -> None:
    modelnet_dat(tmp_path, points=100, per_class=4)
    found = load(net(tmp_path, points=64, normalize="unit-sphere", validation=0.25))
    assert isinstance(found.train, Clouds) and isinstance(found.validation, Clouds)
    assert found.train.points.shape == (120, 75, 3) and found.validation.points.shape == (40, 64, 3)
    pooled = load(net(tmp_path, points=64, normalize="unit-sphere", validation=0.25), pooled_test=True)
    assert pooled.fingerprint == found.fingerprint and isinstance(pooled.test, Clouds)
    assert pooled.test.points.shape == (160, 75, 3)
    assert np.array_equal(pooled.test.points[:, :64], parts(found)["test"].points)


@pytest.mark.parametrize("kind", ["scanobjectnn", "h5", "txt", "dat", "off", "farthest-anew"])
def test_a_step_of_training_from_every_layout(tmp_path: Path, kind: str) -> None:
    data: dict[str, Any] = {"kind": "modelnet40", "path": tmp_path, "preparation": {"points": 32}, "validation": 0.0}
    if kind == "scanobjectnn":
        scanobjectnn_tree(tmp_path / "h5_files")
        data |= {"kind": kind, "preparation": {"points": 64, "normalize": "none"}}
    elif kind == "off":
        modelnet_off(tmp_path, MODELNET10)
        data |= {"subset": "modelnet10"}
    else:
        {"h5": modelnet_h5, "txt": modelnet_txt, "dat": modelnet_dat, "farthest-anew": modelnet_dat}[kind](tmp_path)
        data |= {"sampling": "farthest-anew"} if kind == "farthest-anew" else {}
    run = parse_config(
        {
            "backbone": BACKBONE,
            "method": {"kind": "dapt", "rank": 4},
            "data": data,
            "head": {"hidden": 16},
            "epochs": 1,
            "batch_size": 10,
            "select": "last",
        }
    )
    last = list(train(run, tmp_path / "run", device="cpu"))[-1]
    assert last.kind == "finished" and last.test_accuracy is not None
