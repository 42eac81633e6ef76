"""What a run reads of strangers is read by a child: the same data, no secrets, bounds, and nothing of it believed."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from pointsmith.core.data import apart, images
from pointsmith.core.data.apart import load_apart, read_apart
from pointsmith.core.data.child import SCRATCH
from pointsmith.core.data.config import DataConfig, DemoData, FolderData, HubData
from pointsmith.core.data.load import load
from pointsmith.core.data.sandbox import protocol
from pointsmith.core.errors import UserError
from pydantic import TypeAdapter

from tests.support.part_sets import write_tools
from tests.support.processes import Child, ended


def config(content: dict[str, Any]) -> DataConfig:
    return TypeAdapter[DataConfig](DataConfig).validate_python(content)


def clouds(root: Path, count: int = 6) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b\udcff"):
        (root / name).mkdir(parents=True)
        for i in range(count):
            np.save(root / name / f"{i}.npy", rng.normal(size=(40, 3)).astype("f4"))
    return root


def photographs(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def packed(root: Path) -> Path:
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
        for file in sorted(root.rglob("*.*")):
            archive.write(file, file.relative_to(root))
    return root.with_suffix(".zip")


def table(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["data"] = np.random.default_rng(0).normal(size=(12, 40, 3)).astype("f4")
        file["label"] = np.arange(12) % 2
    return path


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setenv(SCRATCH, str(place))
    return place


SMALL = {"preparation": {"points": 16}}


@pytest.mark.parametrize("kind", ["folder", "zip", "h5", "images", "image zip", "parts", "few-shot"])
def test_the_data_are_those_of_a_plain_read(tmp_path: Path, scratch: Path, kind: str) -> None:
    make: dict[str, Any] = {
        "folder": lambda: {"kind": "folder", "path": clouds(tmp_path / "set"), **SMALL},
        "zip": lambda: {"kind": "folder", "path": packed(photographs(tmp_path / "x")).with_name("x.zip"), **SMALL},
        "h5": lambda: {"kind": "h5", "train": table(tmp_path / "set.h5"), **SMALL},
        "images": lambda: {"kind": "images", "path": photographs(tmp_path / "set"), "preparation": {"size": 16}},
        "image zip": lambda: {
            "kind": "images", "path": packed(photographs(tmp_path / "set")), "preparation": {"size": 16}
        },
        "parts": lambda: {"kind": "parts", "path": write_tools(tmp_path / "tools"), "preparation": {"points": 32}},
        "few-shot": lambda: {
            "kind": "fewshot", "way": 2, "shot": 2, "queries": 2,
            "base": {"kind": "folder", "path": str(clouds(tmp_path / "set", 10)), "test_share": 0.4}, **SMALL,
        },
    }  # fmt: skip
    if kind == "zip":
        plain = clouds(tmp_path / "set")
        (plain / "b\udcff").rename(plain / "b")  # a zip's names are text
        given = config({"kind": "folder", "path": packed(plain), **SMALL})
    else:
        given = config(make[kind]())
    here, there = load(given), load_apart(given)
    assert there.fingerprint == here.fingerprint and there.classes == here.classes
    assert there.notes == here.notes and there.part_names == here.part_names
    assert there.train.names == here.train.names and len(there.train) > 0
    assert (there.test is None) == (here.test is None)
    del here, there
    assert not list(scratch.iterdir())


def test_images_too_many_to_keep_are_decoded_by_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = config({"kind": "images", "path": packed(photographs(tmp_path / "set")), "preparation": {"size": 16}})
    kept = load(given).train
    read = read_apart(given)
    train = read.train
    assert isinstance(train, images.Images) and isinstance(kept, images.Images)
    many = images.replace(train, pixels=None)
    monkeypatch.setattr(images, "read_image", lambda *_: pytest.fail("decoded in this process"))
    order = [train.names.index(name) for name in kept.names]
    batch = next(many.feed(torch.device("cpu")).batches([np.array(order)]))
    assert torch.equal(batch, next(kept.feed(torch.device("cpu")).batches([np.arange(len(kept))])))
    many.files[0].write_bytes(b"gone")
    with pytest.raises(UserError, match=train.names[0]):
        many.square(0)
    assert many.square(1).shape == (16, 16, 3)


def test_what_is_no_stranger_s_file_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "read_apart", lambda *_: pytest.fail("a child for nothing"))
    assert len(load_apart(DemoData.model_validate({"train_per_class": 2, "test_per_class": 1})).train)
    assert apart._needs_no_child(HubData(repository="owner/name"))
    assert not apart._needs_no_child(HubData(repository="/srv/parquet"))


def test_the_child_has_no_secrets_and_what_it_says_wrong_is_refused(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that an attacker has taken over: its environment, a pickle for an array, a link, labels out of range."""
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    monkeypatch.setenv("REDIS_URL", "redis://:hush-hush@127.0.0.1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    mark, told = tmp_path / "ran", tmp_path / "environment.json"
    given = config({"kind": "folder", "path": clouds(tmp_path / "set"), **SMALL})
    real = subprocess.Popen

    def taken_over(deed: str) -> None:
        script = tmp_path / f"{deed}.py"
        script.write_text(_TAKEN_OVER)
        monkeypatch.setattr(
            protocol.subprocess,
            "Popen",
            lambda command, **rest: real([sys.executable, str(script), deed, str(mark), str(told)], **rest),
        )

    for deed in ("pickle", "link", "labels", "shape", "nonsense", "silence"):
        taken_over(deed)
        with pytest.raises(UserError) as refused:
            read_apart(given)
        assert len(str(refused.value)) < 1000
        assert not mark.exists() and not list(scratch.iterdir())
    seen = json.loads(told.read_text())
    assert "hush" not in str(seen) and "hf_x" not in str(seen) and seen["TMPDIR"].startswith(str(scratch))


_TAKEN_OVER = """
import json, os, sys
import numpy as np
deed, mark, told = sys.argv[1:]
sys.stdin.readline()  # the limits
place = json.loads(sys.stdin.readline())["folder"]
open(told, "w").write(json.dumps(dict(os.environ)))
points, labels = np.zeros((2, 40, 3), "f4"), np.array([0, 9 if deed == "labels" else 1])
class Boom:
    def __reduce__(self):
        return open, (mark, "w")
if deed == "pickle":
    np.save(f"{place}/train-points.npy", np.array([Boom()], dtype=object), allow_pickle=True)
elif deed == "link":
    os.symlink("/etc/passwd", f"{place}/train-points.npy")
else:
    np.save(f"{place}/train-points.npy", points[0] if deed == "shape" else points)
np.save(f"{place}/train-labels.npy", labels)
said = {"classes": ["a", "b"], "notes": [], "splits": {"train": {"kind": "clouds", "names": ["x", "y"]}}}
open(f"{place}/read.json", "w").write("[1" if deed == "nonsense" else json.dumps(said))
if deed != "silence":
    print(json.dumps({"done": None, "bytes": 0}), flush=True)
"""


def test_a_bomb_ends_its_reader_and_not_the_run_s_process(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = clouds(tmp_path / "set")
    (root / "a" / "0.npy").write_bytes(_claims((2**28, 3)))  # 3 GiB, if anybody believed it
    monkeypatch.setattr(apart, "SHARE", 0.02)
    given = config({"kind": "folder", "path": root, **SMALL})
    before = psutil.Process().memory_info().rss
    try:
        notes = read_apart(given).notes
        assert any("0.npy" in note for note in notes)
    except (UserError, MemoryError):
        pass
    assert psutil.Process().memory_info().rss - before < 100 << 20 and not list(scratch.iterdir())


def _claims(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_stopping_ends_the_child_at_once(tmp_path: Path, scratch: Path) -> None:
    class Enough(Exception):
        pass

    def progress(*_: object) -> None:
        raise Enough

    begun = time.monotonic()
    with pytest.raises(Enough):
        read_apart(config({"kind": "folder", "path": clouds(tmp_path / "set", 300), **SMALL}), progress=progress)
    assert time.monotonic() - begun < 2 and not list(scratch.iterdir())
    assert not [one for one in psutil.Process().children() if "apart" in " ".join(one.cmdline())]


def test_no_child_outlives_its_parent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never.zip")  # a file that nobody ever writes: reading it waits for ever
    code = (
        "import sys, pathlib; from pointsmith.core.data.apart import read_apart\n"
        "from pointsmith.core.data.config import H5Data\n"
        "read_apart(H5Data(train=pathlib.Path(sys.argv[1])), progress=lambda *_: print('on', flush=True))"
    )
    parent = Child([sys.executable, "-c", code, str(tmp_path / "never.zip")], stdout=subprocess.PIPE)
    try:
        assert parent.read_line() == b"on\n"
        children = psutil.Process(parent.pid).children()
    finally:
        parent.kill()
        parent.finish()
    assert ended(children, timeout=5)


def test_what_is_wrong_is_said_as_by_the_reader(tmp_path: Path) -> None:
    given = FolderData(path=tmp_path / "nowhere")
    with pytest.raises(UserError) as here:
        load(given)
    with pytest.raises(UserError) as there:
        load_apart(given)
    assert str(there.value) == str(here.value) and pickle.dumps(str(there.value))
