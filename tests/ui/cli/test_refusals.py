"""Bad input on the command line: one sentence on stderr, exit code 2, no traceback, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.cli import TINY, Call, assert_refused, make_shapes
from tests.support.processes import PATIENCE


def everything(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backbone", "point-mea"], ["'point-mea'", "demo", "point-mae"]),
        (["--method", "datp"], ["'datp'", "dapt"]),
        (["--data", "dmeo"], ["dmeo", "demo"]),
        (["--data", "no/such/folder"], ["no/such/folder"]),
        (["--recipe", "dmo"], ["'dmo'", "demo"]),
        (["--recipe", "demo", "--config", "x.yaml"], ["--recipe", "--config"]),
        (["--config", "absent.yaml"], ["absent.yaml"]),
        (["--config", "broken.yaml"], ["broken.yaml", "YAML"]),
        (["--config", "list.yaml"], ["list.yaml"]),
        (["--config", "typo.yaml"], ["typo.yaml", "optim.learning_rate"]),
        (["--set", "method.rnk=3"], ["method.rnk"]),
        (["--set", "optim.lr"], ["optim.lr"]),
        (["--set", "epochs.more=3"], ["epochs"]),
        (["--epochs", "0"], ["epochs", "0"]),
        (["--lr", "-1"], ["optim.lr", "-1"]),
        (["--batch-size", "1"], ["batch_size", "1"]),
        (["--set", "data.preparation.points=16"], ["backbone", "16"]),
        (["--set", "backbone.heads=5"], ["heads", "5"]),
        (["--set", "backbone.weights=absent.pth"], ["absent.pth"]),
        (["--device", "abacus"], ["'abacus'"]),
        (["--device", "cuda:99"], ["cuda:99"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_train(call: Call, words: list[str], said: list[str]) -> None:
    Path("broken.yaml").write_text("epochs: [1\nmethod: }\n")
    Path("list.yaml").write_text("- 1\n- 2\n")
    Path("typo.yaml").write_text("optim: {learning_rate: 0.1}\n")
    before = everything(Path())
    quick = [] if "--data" in words or "--recipe" in words else ["--set", "data.train_per_class=2"]
    assert_refused(call("train", *words, *quick, "--out", "made/run"), *said)
    assert everything(Path()) == before


def spoil(what: str, folder: Path) -> Path:
    """Make a data set that is wrong in one way; return where it is."""
    place = folder / "set"
    if what.endswith("class"):
        make_shapes(place, per_class=2)
        if what == "empty class":
            (place / "void").mkdir()
        values = np.full((96, 3), np.nan) if what == "NaN class" else np.zeros((3, 3))
        for path in (place / "rod").iterdir() if what != "empty class" else ():
            np.save(path, values.astype(np.float32))
    elif what == "no folders":
        place.mkdir()
    elif what == "strange h5":
        place = folder / "set.h5"
        with h5py.File(place, "w") as file:
            file["points"] = np.zeros((4, 64, 3), np.float32)
    else:
        place = folder / f"set.{what.removeprefix('torn ')}"
        place.write_bytes(b"PK\x03\x04 and no more" if what == "torn zip" else b"\x89HDF and no more")
    return place


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("empty class", "void"),
        ("NaN class", "NaN"),
        ("sparse class", "rod"),
        ("no folders", "set"),
        ("torn zip", "set.zip"),
        ("torn h5", "set.h5"),
        ("strange h5", "set.h5"),
        ("txt", "set.txt"),
    ],
)
def test_data(call: Call, tmp_path: Path, what: str, said: str) -> None:
    data = spoil(what, tmp_path)
    before = everything(tmp_path)
    assert_refused(call("train", *TINY, "--data", data, "--epochs", "1", "--out", tmp_path / "made" / "run"), said)
    assert everything(tmp_path) == before


def test_output_folder(call: Call, shapes: Path) -> None:
    Path("file").write_text("x")
    assert_refused(call("train", *TINY, "--data", shapes, "--out", "file/run"), "file")
    Path("full").mkdir()
    Path("full/thing").write_text("x")
    assert_refused(call("train", *TINY, "--data", shapes, "--out", "full"), "full", "--resume")
    assert everything(Path()) == {Path("file"), Path("full"), Path("full/thing")}


def test_divergence(call: Call, shapes: Path) -> None:
    """NaN in a weight file stands in for a loss that runs away."""
    words = [word for pair in pairwise(TINY) if pair[0] == "--set" and "backbone." in pair[1] for word in pair]
    made = call(
        "pretrain", "--data", shapes, *words, "--set", "points=64", "--epochs", "1", "--device", "cpu", "--out", "pre"
    )
    assert made.exit_code == 0, made.stderr
    tensors = load_file("pre/backbone.safetensors")
    tensors["norm.weight"] = torch.full_like(tensors["norm.weight"], float("nan"))
    save_file(tensors, "bad.safetensors")
    result = call(
        "train", *TINY, "--set", "backbone.weights=bad.safetensors", "--data", shapes, "--epochs", "1", "--out", "run"
    )
    assert result.exit_code == 2
    assert "step 1" in result.stderr and "optim.lr" in result.stderr
    assert not Path("run").exists()


@pytest.fixture
def adapter(call: Call, shapes: Path, tmp_path: Path) -> Path:
    out = tmp_path / "run"
    assert call("train", *TINY, "--data", shapes, "--epochs", "1", "--out", out).exit_code == 0
    return out / "adapter"


def test_predict(call: Call, adapter: Path) -> None:
    np.save("good.npy", np.random.default_rng(0).normal(size=(70, 3)))
    np.save("nan.npy", np.full((70, 3), np.nan))
    np.save("few.npy", np.eye(3))
    np.save("flat.npy", np.zeros((70, 2)))
    Path("torn.npy").write_bytes(b"\x93NUMPY and no more")
    Path("torn.obj").write_text("f 1 2 3\n")
    Path("what.docx").write_text("x")
    for name, said in (
        ("absent.npy", "absent.npy"),
        ("nan.npy", "nan.npy"),
        ("few.npy", "few.npy"),
        ("flat.npy", "flat.npy"),
        ("torn.npy", "torn.npy"),
        ("torn.obj", "torn.obj"),
        ("what.docx", "what.docx"),
    ):
        for raw in ([], ["--raw"]):
            result = call("predict", adapter, "good.npy", name, "--json", *raw)
            assert_refused(result, said)
            assert result.stdout == ""
    assert_refused(call("predict", "absent", "good.npy"), "absent")
    assert_refused(call("predict", adapter, "good.npy", "--device", "abacus"), "abacus")
    assert_refused(call("predict", adapter, "good.npy", "--backbone-weights", "absent.pth"), "absent.pth")


def test_damaged_adapter(call: Call, adapter: Path) -> None:
    np.save("good.npy", np.random.default_rng(0).normal(size=(70, 3)))
    weights, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    whole, text = weights.read_bytes(), config.read_text()
    weights.write_bytes(whole[:100])
    assert_refused(call("predict", adapter, "good.npy"), "adapter_model.safetensors")
    weights.write_bytes(whole)
    config.write_text(text.replace('"format_version": 1', '"format_version": 99'))
    assert_refused(call("predict", adapter, "good.npy"), "99")
    config.write_text(text[:50])
    assert_refused(call("evaluate", adapter), "JSON")


def test_evaluate(call: Call, adapter: Path, shapes: Path, tmp_path: Path) -> None:
    (shapes / "rod").rename(shapes / "stick")
    assert_refused(call("evaluate", adapter, "--data", shapes), "stick", "ball, plate, rod")
    assert_refused(call("evaluate", adapter, "--data", "demo"), "ball, plate, rod")
    assert_refused(call("evaluate", adapter, "--data", tmp_path / "absent"), "absent")
    (shapes / "stick").rename(shapes / "rod")
    shapes.rename(tmp_path / "elsewhere")
    assert_refused(call("evaluate", adapter), "--data")


def test_import(call: Call, tmp_path: Path) -> None:
    torch.save({"base_model": {"norm.weight": torch.zeros(384)}}, tmp_path / "part.pth")
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04")
    before = everything(tmp_path)
    for file, layout, said in (
        ("part.pth", "pointmae/scan_hardset", ("pointmae/scan_hardset", "pointmae/scan_hardest")),
        ("part.pth", "pointmae/pretrain", ("--backbone own",)),
        ("part.pth", "pointmae/scan_hardest", ("part.pth",)),
        ("torn.pth", "pointmae/scan_hardest", ("torn.pth",)),
        ("absent.pth", "pointmae/scan_hardest", ("absent.pth",)),
    ):
        result = call("import", tmp_path / file, "--layout", layout, "--out", tmp_path / "made" / "adapter")
        assert_refused(result, *said)
        assert everything(tmp_path) == before


def test_real_process_prints_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pointsmith.ui.cli.main", "train", "--set", "method.nonsense=1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ") and "method.nonsense" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
