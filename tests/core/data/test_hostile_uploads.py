"""Files made to harm: read as uploads are, each is refused in a sentence, within bounds of memory and time.

The reading child's peak is measured, this process's own must not grow, and nothing stays behind on the disk.
"""

from __future__ import annotations

import gzip
import pickle
import resource
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from pointsmith.core.data.config import FolderData, H5Data
from pointsmith.core.data.files import read_untrusted, read_untrusted_image
from pointsmith.core.data.inspect import inspect
from pointsmith.core.data.survey import Limits, look_at
from pointsmith.core.data.surveyor import Job
from pointsmith.core.errors import UserError
from pointsmith.core.models.files import read_tensors

from tests.support.hostile_files import (
    CLOUD,
    FILES,
    MB,
    SOUND,
    Boom,
    archive,
    hostile_h5,
    inner,
)
from tests.support.processes import join


def _peak(child: psutil.Process) -> int:
    """The most memory, in bytes, that a child has taken; what it was before it started its program does not count."""
    for line in Path(f"/proc/{child.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # it has ended


@pytest.fixture
def in_child() -> Iterator[Callable[[], int]]:
    """Answers the most memory, in bytes, that a child has taken since the test began, by looks some milliseconds apart.

    Each look finds the largest that the child has been so far. (What the system says of children that have ended is
    never less than this process's own peak, whose memory they share until they start their program.)
    """
    seen, over = [0], threading.Event()
    here = psutil.Process()

    def look() -> None:
        while not over.wait(0.005):
            for child in here.children(recursive=True):
                try:
                    if child.cmdline() != here.cmdline():  # else it has not started its program
                        seen[0] = max(seen[0], _peak(child))
                except (psutil.Error, OSError):
                    continue

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    yield lambda: seen[0]
    over.set()
    join([looking])


def own() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


ALONE = ("count.glb", "deep.gltf", "object.npy", "object.npz", "bomb.npz", "huge.ply", "bomb.3mf", "nan.npy")
"""Read as the Predict tab reads them, in a child each; the survey reads all."""


@pytest.mark.parametrize("name", ALONE)
def test_a_file_is_refused_in_a_sentence_and_costs_little(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, in_child: Callable[[], int]
) -> None:
    mark, file, scratch = tmp_path / "ran", tmp_path / name, tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    file.write_bytes(FILES[name](mark))
    before, begun = own(), time.monotonic()
    with pytest.raises(UserError) as refused:
        read_untrusted(file, 256, 0, memory_bytes=2 << 30, cpu_seconds=10, wall_seconds=20)
    assert name in str(refused.value) and len(str(refused.value)) < 600 and "Traceback" not in str(refused.value)
    assert time.monotonic() - begun < 15
    assert not mark.exists() and not list(scratch.iterdir())
    assert own() - before < 64 * MB
    assert 0 < in_child() < 900 * MB


def test_all_of_them_in_one_survey(tmp_path: Path, in_child: Callable[[], int]) -> None:
    """A data set of nothing else: every file gets its own reason, and the sound one among them is read."""
    folder = tmp_path / "set" / "bad"
    folder.mkdir(parents=True)
    for name, make in FILES.items():
        (folder / name).write_bytes(make(tmp_path / "ran"))
    (folder / "sound.xyz").write_text(CLOUD)
    jobs = [Job("cloud", str(path), path.name, "train", "bad") for path in sorted(folder.iterdir())]
    told = look_at(jobs, Limits(memory_bytes=2 << 30, cpu_seconds=10, wall_seconds=20))
    try:
        while True:
            next(told)
    except StopIteration as end:
        items = {item.name: item for item in end.value}
    assert set(items) == {*FILES, "sound.xyz"} and not items["sound.xyz"].fault
    assert all(items[name].fault and items[name].reason for name in FILES)
    assert not (tmp_path / "ran").exists() and 0 < in_child() < 1200 * MB


# --- pictures ---


def png(width: int, height: int, content: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bomb.png", png(60_000, 60_000, zlib.compress(b"\0" * MB))),
        ("liar.png", png(8_000, 8_000, zlib.compress(b"\0" * 100))),
        ("script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) system\n"),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) system\n"),
        ("text.jpg", b"hello"),
        ("empty.png", b""),
    ],
)
def test_pictures(tmp_path: Path, name: str, content: bytes, in_child: Callable[[], int]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        read_untrusted_image(tmp_path / name, memory_bytes=2 << 30, cpu_seconds=10, wall_seconds=20)
    assert 0 < in_child() < 900 * MB


# --- archives ---


@pytest.mark.parametrize(
    ("members", "link", "reason"),
    [
        ({"a/bomb.xyz": b"0 0 0\n" * (24 * MB // 6), **SOUND}, None, "unpacks to"),
        ({"../../evil.xyz": CLOUD.encode(), **SOUND}, None, "outside"),
        ({"/etc/evil.xyz": CLOUD.encode(), **SOUND}, None, "outside"),
        ({"C:\\evil.xyz": CLOUD.encode(), **SOUND}, None, "outside"),
        (SOUND, "a/link.xyz", "symbolic link"),
        ({"a/more.zip": inner(), **SOUND}, None, "another archive"),
        ({"a/more.tar.gz": b"", **SOUND}, None, "another archive"),
    ],
    ids=["bomb", "traversal", "absolute", "drive", "link", "nested", "nested tar"],
)
def test_archives(
    tmp_path: Path, members: dict[str, bytes], link: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pointsmith.core.data.load import load

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    file, before = archive(tmp_path / "set.zip", members, link), own()
    with pytest.raises(UserError, match=reason) as refused:
        load(FolderData(path=file, preparation={"points": 16}))  # type: ignore[arg-type]
    assert "set.zip" in str(refused.value)
    assert not list(scratch.iterdir()) and own() - before < 64 * MB
    assert not (tmp_path.parent / "evil.xyz").exists() and not Path("/etc/evil.xyz").exists()


@pytest.mark.slow
def test_ten_thousand_classes_and_one(tmp_path: Path) -> None:
    members = {f"c{i:05}/0.xyz": b"0 0 0\n1 1 1\n" for i in range(10_001)}
    file, begun = archive(tmp_path / "set.zip", members), time.monotonic()
    from pointsmith.core.data.load import load

    with pytest.raises(UserError):
        load(FolderData(path=file, preparation={"points": 16}))  # type: ignore[arg-type]
    assert time.monotonic() - begun < 30


def test_a_thousand_folders_deep(tmp_path: Path) -> None:
    from pointsmith.core.data.load import load

    file = archive(tmp_path / "set.zip", {"/".join(["d"] * 1500) + "/x.xyz": CLOUD.encode(), **SOUND})
    with pytest.raises(UserError, match=r"set\.zip"):
        load(FolderData(path=file, preparation={"points": 16}))  # type: ignore[arg-type]


# --- HDF5 ---


@pytest.mark.parametrize("how", ["link", "virtual", "external", "shape"])
def test_hdf5(tmp_path: Path, how: str, in_child: Callable[[], int]) -> None:
    file = hostile_h5(tmp_path / "set.h5", how)
    told = look_at([Job("h5", str(file), file.name, "train")], Limits(memory_bytes=2 << 30, cpu_seconds=10))
    try:
        while True:
            next(told)
    except StopIteration as end:
        (item,) = end.value
    assert item.fault and "set.h5" in item.reason and 0 < in_child() < 1200 * MB
    with pytest.raises(UserError, match=r"set\.h5"):
        from pointsmith.core.data.load import load

        load(H5Data(train=file))


# --- weights ---


@pytest.mark.parametrize("form", ["zip", "plain", "gzip"])
def test_a_pickle_in_a_weight_file_is_never_run(tmp_path: Path, form: str) -> None:
    mark, file = tmp_path / "ran", tmp_path / "weights.pth"
    if form == "zip":
        torch.save({"model": Boom(mark)}, file)
    else:
        content = pickle.dumps({"model": Boom(mark)}, protocol=2)
        file.write_bytes(gzip.compress(content) if form == "gzip" else content)
    with pytest.raises(UserError, match=r"weights\.pth"):
        read_tensors(file)
    assert not mark.exists()


def test_nothing_of_a_refused_set_is_reported_as_usable(tmp_path: Path) -> None:
    """The Data tab's check names the faulty files; a run on the set would be refused."""
    folder = tmp_path / "set"
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for name in ("object.npy", "count.glb", "empty.ply"):
            (folder / label / name).write_bytes(FILES[name](tmp_path / "ran"))
    checking = inspect(FolderData(path=folder, preparation={"points": 16}))  # type: ignore[arg-type]
    try:
        while True:
            next(checking)
    except StopIteration as end:
        report = end.value
    assert report.trial.refused and not (tmp_path / "ran").exists()
    assert report.usable == 0
