"""A check finds each kind of planted fault, and none in a clean set; what it offers mends it."""

from __future__ import annotations

import resource
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from pointsmith.core.data.clouds import Preparation, lying, upright
from pointsmith.core.data.config import DataConfig, DemoData, FolderData, H5Data, ImagesData
from pointsmith.core.data.facts import copy_form, groups_of_copies, stands, up_axis
from pointsmith.core.data.inspect import Report, inspect, retried, with_settings
from pointsmith.core.data.load import load
from pointsmith.core.data.procedural import CLASSES, demo_faults, make_cloud, make_split
from pointsmith.core.data.survey import Limits
from pointsmith.core.errors import UserError

from tests.support.paths import SHARED

POINTS = Preparation(points=128)


def checked(config: DataConfig, **options: Any) -> Report:
    checking = inspect(config, **options)
    steps: list[tuple[str, int, int]] = []
    while True:
        try:
            steps.append(next(checking))
        except StopIteration as end:
            assert steps
            return end.value


def codes(report: Report) -> set[str]:
    return {one.code for one in report.problems}


def names(report: Report, code: str) -> str:
    return " | ".join(next(one for one in report.problems if one.code == code).names)


def cloud(seed: int, label: int = 0) -> np.ndarray:
    return make_cloud(label, seed, 160, faults=demo_faults("gentle"))


def folder(root: Path, train: int = 6, test: int = 2) -> Path:
    """Three classes of generated objects as .npy, under train/ and test/."""
    for part, count, first in (("train", train, 0), ("test", test, 1000)):
        for name in ("bed", "car", "mug"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                np.save(root / part / name / f"{i}.npy", cloud(first + i, CLASSES.index(name)))
    return root


def set_of(path: Path, **changes: Any) -> FolderData:
    return FolderData.model_validate({"path": path, "preparation": POINTS, **changes})


def test_a_clean_set_has_no_problem(tmp_path: Path):
    report = checked(set_of(folder(tmp_path / "d")))
    assert report.problems == [] and report.open_problems == []
    assert (report.inputs, report.usable, report.parts) == (24, 24, {"train": 18, "test": 6})
    assert report.counts == {name: {"train": 6, "test": 2} for name in ("bed", "car", "mug")}
    assert report.spreads["points"].low == report.spreads["points"].high == 160
    assert report.trial.counts == {"train": [5] * 3, "validation": [1] * 3, "test": [2] * 3}
    assert report.fingerprint == load(set_of(tmp_path / "d")).fingerprint
    assert len(report.pictures) == 24 and all(one.picture.startswith("data:image/png") for one in report.pictures)
    assert Report.from_json(report.to_json()) == report


def test_each_planted_fault_is_named(tmp_path: Path):
    root = folder(tmp_path / "d")
    (root / "train" / "bed" / "empty.ply").write_bytes(b"")
    (root / "train" / "bed" / "broken.npy").write_bytes(b"\x93NUMPY nonsense")
    (root / "train" / "bed" / "one.xyz").write_text("1 2 3\n")
    (root / "train" / "bed" / "still.xyz").write_text("1 2 3\n" * 200)
    (root / "train" / "bed" / "nan.xyz").write_text("1 2 3\nnan 2 3\n3 4 5\n")
    (root / "train" / "bed" / "notes.docx").write_text("what is this")
    doubled = cloud(77)
    np.save(root / "train" / "bed" / "doubled.npy", np.concatenate([doubled, doubled[:100]]))
    report = checked(set_of(root))
    assert codes(report) == {"empty", "unreadable", "one-point", "no-extent", "not-finite", "repeated", "strangers"}
    assert "empty.ply" in names(report, "empty") and "broken.npy" in names(report, "unreadable")
    assert "one.xyz" in names(report, "one-point") and "200 points" in names(report, "no-extent")
    assert "1 of 3 points" in names(report, "not-finite") and "38 %" in names(report, "repeated")
    assert names(report, "strangers") == "train/bed/notes.docx"
    assert (report.inputs, report.usable) == (30, 25)
    remedy = next(one.remedy for one in report.problems if one.code == "no-extent")
    assert remedy is not None
    mended = with_settings(set_of(root), remedy.settings)
    after = retried(report, mended)
    assert {one.code for one in after.problems if one.mended} == {"one-point", "no-extent"}
    assert "repair: clouds whose points lie in one place left out: 2 of 21 of train" in after.trial.notes
    assert sum(after.trial.counts["train"]) + sum(after.trial.counts["validation"]) == 19


def test_copies_across_parts_are_found_after_scaling_moving_and_shuffling(tmp_path: Path):
    root = folder(tmp_path / "d")
    rng = np.random.default_rng(0)
    original = np.load(root / "test" / "car" / "0.npy")
    moved = rng.permutation(original) * 3.7 + np.array([5.0, -2.0, 1.0])
    (root / "train" / "car" / "moved.xyz").write_text("\n".join(" ".join(f"{v:.6g}" for v in row) for row in moved))
    shutil.copy(root / "train" / "mug" / "0.npy", root / "train" / "bed" / "again.npy")
    report = checked(set_of(root))
    assert codes(report) == {"leak", "copies", "torn"}
    assert names(report, "leak") == "train/car/moved.xyz = test/car/0.npy"
    assert "train/bed/again.npy = train/mug/0.npy" in names(report, "torn")
    assert report.problems[0].code == "leak" and report.problems[0].level == "error"

    across = load(set_of(root, repair={"copies": "across"}))
    left = [*across.train.names, *across.validation.names]  # type: ignore[union-attr]
    assert "train/car/moved.xyz" not in left and "train/bed/again.npy" in left and len(left) == 19
    assert "repair: copies of inputs in another part left out: 1 of 20 of train" in across.notes
    everything = load(set_of(root, repair={"copies": "all"}))
    assert len(everything.train) + len(everything.validation) == 18  # type: ignore[arg-type]
    again = load(set_of(root, repair={"copies": "all"}))
    assert again.fingerprint == everything.fingerprint != across.fingerprint


def test_what_counts_as_a_copy():
    a, b = cloud(1).astype(float), cloud(2).astype(float)
    rng = np.random.default_rng(0)
    same = [a, rng.permutation(a), a * 0.01, a + 40, a.astype(np.float32)]
    other = [
        b,
        a[:-1],
        a * [1, 1, -1],
        a @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
        a + rng.normal(size=a.shape) / 50,
    ]
    assert groups_of_copies([copy_form(one) for one in [*same, *other]]) == [[0, 1, 2, 3, 4]]
    assert groups_of_copies([None, "x", "y", "x", None]) == [[1, 3]]
    assert groups_of_copies([copy_form(a)]) == groups_of_copies([]) == []


def test_meshes_are_compared_by_their_corners_and_not_by_sampled_points(tmp_path: Path):
    ball = "v 0 0 0\nv 1 0 0.{0}\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 2 3 4\n"
    for label in ("a", "b"):
        (tmp_path / "d" / label).mkdir(parents=True)
        for i in range(5):
            number = (i + 5) if label == "b" else i
            (tmp_path / "d" / label / f"{i}.obj").write_text(ball.format(number))
    shutil.copy(tmp_path / "d" / "a" / "0.obj", tmp_path / "d" / "a" / "copy.obj")
    report = checked(set_of(tmp_path / "d"))
    assert names(report, "copies") == "a/0.obj = a/copy.obj"
    assert next(one.level for one in report.problems if one.code == "copies") == "warning"


def test_an_unsound_layout_is_looked_at_all_the_same(tmp_path: Path):
    root = folder(tmp_path / "d")
    shutil.rmtree(root / "test" / "mug")
    np.save(root / "train" / "loose.npy", cloud(5))
    report = checked(set_of(root))
    assert report.problems[0].code == "refused" and "classes of train/ and test/ differ" in report.problems[0].detail
    assert names(report, "loose") == "train/loose.npy" and report.usable == 23 and not report.fingerprint
    remedy = report.problems[0].remedy
    assert remedy is not None and remedy.settings == {"repair.resplit": 0.2}
    after = retried(report, with_settings(set_of(root), remedy.settings))
    assert "refused" not in codes(after)
    assert {part: sum(each) for part, each in after.trial.counts.items()} == {"train": 14, "validation": 3, "test": 5}


def test_resplitting_depends_on_the_seed_alone(tmp_path: Path):
    root = folder(tmp_path / "d")
    one, same, other = (load(set_of(root, repair={"resplit": 0.25}, split_seed=seed)) for seed in (0, 0, 1))
    assert one.test is not None and same.test is not None and other.test is not None
    assert one.test.names == same.test.names != other.test.names and len(one.test) == 6
    assert {name.split("/")[0] for name in one.test.names} == {"train", "test"}


def test_scale_and_balance(tmp_path: Path):
    root = folder(tmp_path / "d", train=5)
    for i in range(60):
        np.save(root / "train" / "bed" / f"more-{i}.npy", cloud(200 + i) * 10)
    config = set_of(root, preparation={"points": 128, "normalize": "none"})
    report = checked(config)
    assert {"scale", "imbalance"} <= codes(report)
    scale = next(one for one in report.problems if one.code == "scale")
    assert scale.remedy is not None and scale.remedy.settings == {"preparation.normalize": "unit-sphere"}
    assert "bed 65" in next(one.title for one in report.problems if one.code == "imbalance")
    after = retried(report, with_settings(config, scale.remedy.settings))
    assert "scale" in codes(after) and "scale" not in {one.code for one in after.open_problems}


def test_the_up_axis_is_sure_only_where_many_agree(tmp_path: Path):
    points, _, _ = make_split("train", 6, 512, 0, demo_faults("gentle"))
    votes = [stands(one) for one in points]
    assert up_axis(votes).axis == "y"
    for axis in ("x", "-x", "-y", "z", "-z"):
        turned = [stands(lying(one, axis)) for one in points]
        assert up_axis(turned).axis == axis
    assert up_axis(votes[:8]).axis == "unsure" and up_axis([]).axis == "unsure"
    rng = np.random.default_rng(0)
    assert up_axis([stands(rng.normal(size=(400, 3))) for _ in range(60)]).axis == "unsure"


@pytest.mark.parametrize("axis", ["y", "-y", "x", "-x", "z", "-z"])
def test_turning_upright_keeps_hands_and_lengths(axis: str):
    basis = np.eye(3)
    up = basis["xyz".index(axis[-1])] * (-1 if axis[0] == "-" else 1)
    turned = upright(basis, axis)
    assert np.linalg.det(turned) == pytest.approx(1) and np.allclose(upright(up, axis), [0, 1, 0])
    assert np.array_equal(lying(turned, axis), basis)


def test_a_set_that_lies_is_turned_by_its_remedy(tmp_path: Path):
    root = tmp_path / "d"
    for label in range(4):
        (root / CLASSES[label]).mkdir(parents=True)
        for i in range(30):
            np.save(root / CLASSES[label] / f"{i}.npy", lying(make_cloud(label, i, 256), "z"))
    report = checked(set_of(root))
    assert codes(report) == {"up"} and report.up is not None and report.up["axis"] == "z"
    turned = with_settings(set_of(root), {"preparation.up": "z"})
    after = retried(report, turned)
    assert after.open_problems == [] and after.fingerprint != report.fingerprint
    assert after.pictures[0].picture != report.pictures[0].picture and after.drawn_up == "z"
    plain, stood = load(set_of(root)), load(turned)
    assert np.allclose(stood.train.points, upright(plain.train.points, "z"), atol=1e-6)  # type: ignore[attr-defined]


def test_hdf5_with_nan_is_refused_until_it_is_mended(tmp_path: Path):
    points = np.stack([cloud(i) for i in range(24)])
    points[3, 7, 1] = np.nan
    points[5] = 0.25
    labels = np.arange(24) % 3
    for name, chosen in (("train", slice(0, 18)), ("test", slice(18, 24))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["data"], file["label"] = points[chosen], labels[chosen]
    config = H5Data(train=tmp_path / "train.h5", test=tmp_path / "test.h5", preparation=POINTS)
    report = checked(config)
    assert {"refused", "not-finite", "no-extent"} == codes(report)
    assert names(report, "not-finite").startswith("train[3]: 1 of 160 points") and "train[5]" in names(
        report, "no-extent"
    )
    after = retried(report, with_settings(config, {"repair.drop_bad": True}))
    assert after.open_problems == []
    assert sum(after.trial.counts["train"]) + sum(after.trial.counts["validation"]) == 16
    assert any("1 clouds of train.h5 have NaN" in note for note in after.trial.notes)


def test_copies_in_hdf5_are_found_before_points_are_drawn(tmp_path: Path):
    points = np.stack([cloud(i) for i in range(24)])
    points[20] = points[2][::-1] * 2
    labels = np.arange(24) % 3
    for name, chosen in (("train", slice(0, 18)), ("test", slice(18, 24))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["data"], file["label"] = points[chosen], labels[chosen]
    config = H5Data(train=tmp_path / "train.h5", test=tmp_path / "test.h5", preparation=POINTS)
    assert names(checked(config), "leak") == "train[2] = test[2]"
    mended = load(with_settings(config, {"repair.copies": "across"}))
    assert "train[2]" not in [*mended.train.names, *mended.validation.names]  # type: ignore[union-attr]


def test_images(tmp_path: Path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "d" / label).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / "d" / label / f"{i}.png")
    cat = tmp_path / "d" / "cat"
    Image.open(cat / "0.png").save(cat / "again.bmp")  # the same pixels in another file
    Image.open(cat / "1.png").convert("L").save(cat / "grey.png")
    (cat / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    config = ImagesData(path=tmp_path / "d")
    report = checked(config)
    assert codes(report) == {"unreadable", "copies", "grey"}
    assert names(report, "copies") == "cat/0.png = cat/again.bmp" and "broken.jpg" in names(report, "unreadable")
    assert report.grey == 1 and report.spreads["width"].high == 50
    assert report.pictures[0].picture.startswith("data:image/jpeg")
    before = sum(sum(each) for each in report.trial.counts.values())
    after = retried(report, with_settings(config, {"repair.copies": "all"}))
    assert sum(sum(each) for each in after.trial.counts.values()) == before - 1 and after.trial.refused == ""


def test_a_file_that_ends_its_reader_is_named_and_the_others_go_on(tmp_path: Path):
    root = folder(tmp_path / "d")
    (root / "train" / "bed" / "slow.xyz").write_text("0.1 0.2 0.3\n" * 3_000_000)
    report = checked(set_of(root), limits=Limits(memory_bytes=2 << 30, cpu_seconds=1, wall_seconds=20))
    assert "within 2048 MiB and 1 s" in names(report, "unreadable") or "memory" in names(report, "unreadable")
    assert report.usable == 24 and report.inputs == 25


def test_closing_a_check_leaves_no_child(tmp_path: Path):
    import psutil

    checking = inspect(set_of(folder(tmp_path / "d")))
    next(checking)
    checking.close()
    left = [one for one in psutil.Process().children(recursive=True) if "surveyor" in " ".join(one.cmdline())]
    assert left == []


def test_lists_of_clouds(tmp_path: Path):
    for i in range(12):
        np.save(tmp_path / f"{i}.npy", cloud(i))
    rows = [f"{i}.npy,{'ab'[i % 2]},{'test' if i >= 8 else 'train'}" for i in range(12)]
    (tmp_path / "list.csv").write_text("\n".join(["file,label,split", *rows]))
    report = checked(set_of(tmp_path / "list.csv"))
    assert report.counts == {"a": {"train": 4, "test": 2}, "b": {"train": 4, "test": 2}} and not report.trial.refused
    within = load(set_of(tmp_path))  # the same list, found in its folder
    assert within.fingerprint == report.fingerprint
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in [*tmp_path.glob("*.npy"), tmp_path / "list.csv"]:
            archive.write(path, path.name)
    assert load(set_of(tmp_path / "all.zip")).fingerprint == report.fingerprint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.npy\n", "line 1 is not a file and its label"),
        ("a.npy,x\nb.npy,y,later\n", "line 2 has a split of no known name: 'later'"),
        ("a.npy,x\na.npy,y\n", "line 2 lists a file for the second time"),
        ("file,label\n", "lists no file"),
    ],
)
def test_lists_that_do_not_fit(tmp_path: Path, text: str, said: str):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        load(set_of(tmp_path / "list.csv"))


def test_a_list_in_an_archive_stays_inside_it(tmp_path: Path):
    np.save(tmp_path / "secret.npy", cloud(0))
    inner = tmp_path / "d"
    inner.mkdir()
    (inner / "list.csv").write_text("file,label\n../secret.npy,a\n")
    with pytest.raises(UserError, match=r"secret\.npy"):
        load(set_of(inner))


def test_repairs_that_are_not_asked_for_change_nothing(tmp_path: Path):
    plain = DemoData(train_per_class=3, test_per_class=1, preparation=POINTS)
    # As it was before any repair existed.
    assert load(plain).fingerprint == "b93f6440c124906e79b3fbe456e698ebf00d64f13d8a46ce7c75255376016bfc"
    assert set_of(tmp_path).model_dump(exclude_defaults=True).keys() == {"path", "preparation"}


def test_the_demo_set_needs_no_file():
    report = checked(DemoData(train_per_class=6, test_per_class=2, preparation=POINTS))
    assert codes(report) <= {"few"} and report.usable == 120 and len(report.pictures) <= 75
    assert report.fingerprint


def test_nothing_to_look_at(tmp_path: Path):
    with pytest.raises(UserError, match="the data set does not exist"):
        checked(set_of(tmp_path / "nowhere"))
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"bad\.zip cannot be unpacked"):
        checked(set_of(tmp_path / "bad.zip"))


def test_las_needs_its_extra_or_reads_points(tmp_path: Path):
    try:
        import laspy
    except ImportError:
        (tmp_path / "a.las").write_bytes(b"LASF")
        from pointsmith.core.data.files import read_points

        with pytest.raises(UserError, match=r"pip install 'pointsmith\[las\]'"):
            read_points(tmp_path / "a.las", count=8, rng=np.random.default_rng(0))
        return
    from pointsmith.core.data.files import read_points

    points = np.random.default_rng(0).uniform(0, 50, (300, 3)) + np.array([4.5e6, 5.4e6, 300])
    for name in ("a.las", "a.laz"):
        header = laspy.LasHeader(point_format=3, version="1.2")
        header.scales, header.offsets = [0.001] * 3, points.min(axis=0)
        made = laspy.LasData(header)
        made.x, made.y, made.z = points.T
        made.write(tmp_path / name)
        read = read_points(tmp_path / name, count=8, rng=np.random.default_rng(0))
        centred = points - (points.min(axis=0) + points.max(axis=0)) / 2
        assert read.shape == (300, 3) and np.abs(read - centred).max() < 0.01
        whole = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match="cannot be read"):
            read_points(tmp_path / f"cut-{name}", count=8, rng=np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "mesh-formats").is_dir(), reason="no shared data")
def test_mesh_formats():
    """All that should be read is read; the broken and empty ones are named (`emptyIO` holds six that are empty)."""
    report = checked(FolderData(path=SHARED / "mesh-formats"))
    told = names(report, "empty") + names(report, "unreadable")
    for name in ("empty.obj", "empty.ply", "empty.stl", "emptyIO/stl_empty_bin.stl", "SOURCE.txt"):
        assert name in told
    assert report.usable == 103 and report.inputs == 115
    assert report.problems[0].code == "refused"


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "capod").is_dir(), reason="no shared data")
def test_capod():
    """Its z axis is up; two of its pianos are the very same file."""
    report = checked(FolderData(path=SHARED / "capod" / "meshes"))
    assert codes(report) == {"up", "copies"} and report.up is not None and report.up["axis"] == "z"
    assert names(report, "copies") == "Piano/m121.obj = Piano/m123.obj"


def test_copies_are_found_without_looking_at_all_pairs() -> None:
    """20,000 equal clouds have 200 million pairs: none of them may be held."""
    rng = np.random.default_rng(0)
    form = rng.random(161).astype(np.float32)
    apart = list(rng.random((2_000, 161)).astype(np.float32))
    written = [(form + rng.uniform(-9e-6, 9e-6, 161)).astype(np.float32) for _ in range(2_000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert groups_of_copies([form] * 20_000) == [list(range(20_000))]
    assert groups_of_copies([*apart, *written, form]) == [list(range(2_000, 4_001))]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000
