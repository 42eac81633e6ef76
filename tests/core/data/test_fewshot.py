"""Few-shot folds, published and drawn, and pickles: what is read is exact, what is hostile is refused unopened."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.data.clouds import Clouds
from pointsmith.core.data.config import FewShotData, with_paths
from pointsmith.core.data.load import load
from pointsmith.core.data.names import MODELNET40
from pointsmith.core.data.pickles import PickledArray, read_pickle
from pointsmith.core.errors import UserError
from pointsmith.core.events import Finished
from pointsmith.core.training.fewshot import name_of, of_fold, report_on
from pointsmith.core.training.series import finished_member, keep_member

from tests.support.layouts import clouds, fewshot_fold
from tests.support.paths import SHARED
from tests.support.tiny import tiny_run

CAPOD = SHARED / "capod" / "h5"
ORIGINALS = [37, 2, 11]


def few(**content: Any) -> FewShotData:
    preparation = {"points": content.pop("points", 48), "normalize": "none"}
    return FewShotData.model_validate({"way": 3, "shot": 2, "preparation": preparation, **content})


def split(dataset: Any, part: str) -> Clouds:
    found = getattr(dataset, part)
    assert isinstance(found, Clouds)
    return found


def refused(config: FewShotData) -> str:
    with pytest.raises(UserError) as caught:
        load(config)
    return str(caught.value)


@pytest.mark.parametrize("spelling", ["3way_2shot", "3way2shot"])
def test_published_folds(tmp_path: Path, spelling: str) -> None:
    written = [fewshot_fold(tmp_path / "Few" / spelling / f"{fold}.pkl", [37 - fold, 2, 11]) for fold in range(2)]
    for place in (tmp_path, tmp_path / "Few" / spelling):
        for fold in range(2):
            found = load(few(path=place, fold=fold))
            for part in ("train", "test"):
                data, label = written[fold][part]
                assert np.array_equal(split(found, part).points, data)
                assert np.array_equal(split(found, part).labels, label)
            assert found.classes == (MODELNET40[37 - fold], "bed", "curtain") and found.validation is None
    assert "has no fold 2 of 3 way 2 shot" in refused(few(path=tmp_path, fold=2))
    assert "has no fold 0 of 5 way 2 shot" in refused(few(path=tmp_path, way=5))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([1, 2], "no list train"),
        ({"train": [(np.zeros((9, 6), "f4"), 0, 1)]}, "no list test"),
        ({"train": [1]}, "an item that is not"),
        ({"train": [(np.zeros((9, 6), "f4"), 3, 1)]}, "label 3, of 3 classes"),
        ({"train": [(np.zeros((9, 6), "f4"), 0, 1), (np.zeros((9, 6), "f4"), 0, 2)]}, "stands for two classes"),
        ({"train": [(np.zeros((9, 6), "i4"), 0, 1)]}, "not float arrays"),
        ({"train": [(np.zeros((9, 2), "f4"), 0, 1)]}, "not float arrays"),
        ({"train": [(np.full((9, 6), np.nan, "f4"), 0, 1)]}, "NaN"),
        ({"train": [(np.zeros((9, 6), "f4"), 0, 1), (np.zeros((8, 6), "f4"), 1, 2)]}, "of one shape"),
        ({"train": [(np.array(["a"], dtype=object), 0, 1)]}, "expected plain numbers"),
    ],
)
def test_folds_of_another_form(tmp_path: Path, content: Any, reason: str) -> None:
    (tmp_path / "3way_2shot").mkdir()
    (tmp_path / "3way_2shot" / "0.pkl").write_bytes(pickle.dumps(content, protocol=2))
    message = refused(few(path=tmp_path))
    assert reason in message and "0.pkl cannot be read" in message


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    arrays = [
        clouds(1, 20, width=6)[0],
        np.asfortranarray(clouds(1, 5)[0]).astype(">f8"),
        np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    ]
    content = {"a": [*arrays, np.int64(-7), np.float32(0.5)], "b": (True, None, "text", 2**70)}
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(path)
    for one, array in zip(found["a"][:3], arrays, strict=True):
        assert isinstance(one, PickledArray) and np.array_equal(one.array, array) and one.array.shape == array.shape
    assert found["a"][3:] == [-7, 0.5] and found["b"] == (True, None, "text", 2**70)


class Hostile:
    """Pickles as a call of `call` with `arguments`."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.what = (call, arguments)

    def __reduce__(self) -> Any:
        return self.what


def instructions(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_in_a_pickle_is_run(tmp_path: Path, protocol: int) -> None:
    mark, path = tmp_path / "ran", tmp_path / "x.pkl"
    calls: list[Any] = [
        Hostile(os.system, f"touch {mark}"),
        Hostile(eval, f"open({str(mark)!r}, 'w')"),
        Hostile(np.memmap, str(mark), "u1", "w+", 0, (8,)),
        Hostile(np.load, str(mark)),
        Hostile(getattr, "text", "upper"),
        np.array([Hostile(os.system, f"touch {mark}")], dtype=object),
    ]
    for call in calls:
        for content in (call, [[call], [0]], {"train": [(call, 0, 0)]}):
            path.write_bytes(pickle.dumps(content, protocol=protocol))
            with pytest.raises(ValueError, match=r"which no array needs|expected plain numbers"):
                read_pickle(path)
    assert not mark.exists()


REBUILT = named("numpy.core.multiarray", "_reconstruct")
DTYPE = named("numpy", "dtype")


@pytest.mark.parametrize(
    "data",
    [
        instructions(b"cposix\nsystem\n", b"X\x04\x00\x00\x00true", b"\x85R"),
        instructions(b"\x8c\x05posix", b"\x8c\x06system", b"\x93"),  # STACK_GLOBAL
        instructions(b"(", b"X\x04\x00\x00\x00true", b"iposix\nsystem\n"),  # INST
        instructions(named("numpy", "ndarray"), b")\x81"),  # NEWOBJ
        instructions(named("numpy", "ndarray"), b"K\x02\x85R"),  # would show memory that is not ours
        instructions(REBUILT, b"}X\x01\x00\x00\x00aK\x01sb"),  # BUILD on a function
        instructions(REBUILT, b")R", b"(K\x01K\x01NK\x00Ntb"),
        instructions(DTYPE, b"X\x02\x00\x00\x00O8\x85R"),
        instructions(DTYPE, b"X\x04\x00\x00\x00V100\x85R"),
        instructions(
            DTYPE, b"X\x02\x00\x00\x00f4\x85R", b"(K\x03X\x01\x00\x00\x00?NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
        ),
        instructions(named("_codecs", "encode"), b"X\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R"),
        instructions(b"X\x03\x00\x00\x00pidQ"),  # BINPERSID
        instructions(b"\x82\x01"),  # EXT1
        instructions(b"]r\xff\xff\xff\x7f"),  # LONG_BINPUT far beyond: would reserve 32 GiB
        instructions(b"\x8e" + struct.pack("<Q", 1 << 40) + b"x"),  # BINBYTES8 that claims a terabyte
        instructions(b"\x8e" + struct.pack("<Q", 1 << 62) + b"x"),
        b"",
        b"\x80\x04",
        b"not a pickle at all",
        b"\x1f\x8b" + b"x" * 64,
    ],
)
def test_hostile_and_broken_pickles(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"^it "):
        read_pickle(path).array  # noqa: B018 - an array that never got bytes refuses only here


def test_a_large_array_cut_short_or_repeated(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    whole = pickle.dumps([clouds(1, 500)[0]])
    for length in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^it "):
            read_pickle(path)
    one = clouds(1, 500, width=6)[0]
    (tmp_path / "3way_2shot").mkdir()
    many = {part: [(one, i % 3, i % 3) for i in range(1000)] for part in ("train", "test")}
    (tmp_path / "3way_2shot" / "0.pkl").write_bytes(pickle.dumps(many))
    assert "claim more bytes than it has" in refused(few(path=tmp_path))


@pytest.mark.skipif(not CAPOD.is_dir(), reason="the shared data are not here")
def test_drawn_folds_of_a_real_set() -> None:
    base = {"kind": "h5", "train": str(CAPOD / "train.h5"), "test": str(CAPOD / "test.h5")}
    whole = load(few(way=15, shot=8, queries=4, base=base, points=2048))
    assert len(whole.train) == 120 and len(whole.test or ()) == 60
    folds = [load(few(way=5, shot=3, queries=4, base=base, points=2048, fold=fold)) for fold in (0, 1, 0)]
    assert folds[0].fingerprint == folds[2].fingerprint != folds[1].fingerprint
    assert folds[0].classes != folds[1].classes and len(set(folds[0].classes)) == 5
    for fold in folds:
        assert np.bincount(split(fold, "train").labels).tolist() == [3] * 5
        assert np.bincount(split(fold, "test").labels).tolist() == [4] * 5
        for part in ("train", "test"):
            known = {digest: name for digest, name in zip(contents(whole, part), classes_of(whole, part), strict=True)}
            for content, name in zip(contents(fold, part), classes_of(fold, part), strict=True):
                assert known[content] == name
    other = load(few(way=5, shot=3, queries=4, base=base, points=2048, fold_seed=1))
    assert other.fingerprint != folds[0].fingerprint
    assert "Too few classes have 9 training" in refused(few(way=5, shot=9, queries=4, base=base, points=2048))


def contents(dataset: Any, part: str) -> list[bytes]:
    return [cloud.tobytes() for cloud in split(dataset, part).points]


def classes_of(dataset: Any, part: str) -> list[str]:
    return [dataset.classes[label] for label in split(dataset, part).labels]


def test_the_data_to_draw_from_are_text_or_a_mapping() -> None:
    base = {"kind": "demo", "train_per_class": 4, "test_per_class": 2}
    given = few(base=base)
    assert isinstance(given.base, str) and few(base=given.base) == given
    assert given.base_data().preparation == given.preparation
    moved = with_paths(
        few(base={"kind": "h5", "train": "a/train.h5", "test": "b/test.h5"}), lambda p: Path("/x") / p.name
    )
    assert isinstance(moved, FewShotData) and "/x/train.h5" in moved.base and "a/train" not in moved.base
    for content, reason in (
        ({}, "either data.path"),
        ({"base": base, "path": "x"}, "either data.path"),
        ({"base": "somewhere"}, "does not describe a data set"),
        ({"base": {"kind": "images", "path": "x"}}, "base"),
        ({"base": {"kind": "demo", "no_such": 1}}, "no_such"),
        ({"base": "{kind: [}"}, "not valid YAML"),
    ):
        with pytest.raises(UserError, match=reason):
            parse_config({"data": {"kind": "fewshot", **content}, "select": "last"})
    with pytest.raises(UserError, match=r"data\.validation is 0"):
        parse_config({"data": {"kind": "fewshot", "base": base}})
    run = parse_config({"data": {"kind": "fewshot", "base": base}, "select": "last"})
    assert parse_config(run.to_dict()) == run


def finished(accuracy: float) -> Finished:
    return Finished(
        best_epoch=3,
        epochs=3,
        validation_accuracy=None,
        test_accuracy=accuracy,
        selected_on="last",
        adapter="adapter",
        adapter_bytes=1,
        trainable=2,
        seconds=1.0,
    )


def few_run(**changes: Any) -> RunConfig:
    data = {"kind": "fewshot", "way": 3, "shot": 2, "base": {"kind": "demo"}, "preparation": {"points": 64}}
    return tiny_run(data=data, select="last", **changes)


def test_the_report_is_the_mean_and_deviation_of_the_folds(tmp_path: Path) -> None:
    run = few_run()
    assert finished_member(of_fold(run, 0), tmp_path, name_of(0)) is None
    kept = []
    for fold, accuracy in enumerate((0.5, 0.75, 1.0)):
        member = (of_fold(run, fold), tmp_path, name_of(fold))
        (tmp_path / name_of(fold)).mkdir()
        kept.append(keep_member(*member, finished(accuracy), ("a", "b", "c")))
        assert finished_member(*member) == kept[-1]
    report = report_on(run, kept, 10)
    assert (report.mean, report.std, report.planned, report.way) == (0.75, 0.25, 10, 3)
    assert report_on(run, kept[:1], 10).std is None and report_on(run, [], 10).mean is None
    with pytest.raises(UserError, match="other settings"):
        finished_member(of_fold(few_run(epochs=4), 1), tmp_path, name_of(1))
    with pytest.raises(UserError, match="no few-shot folds"):
        of_fold(tiny_run(), 0)
