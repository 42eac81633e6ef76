"""Train, evaluate, predict, resume, import and pre-train from the command line, on tiny but real runs."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from pointsmith.ui.cli.run_options import RunOptions, make_run
from pointsmith.ui.cli.train import train
from pointsmith.ui.command import command_line
from safetensors.torch import load_file

from tests.support.cli import SIZES, TINY, Call, interrupted, make_shapes, start


def test_train_evaluate_predict(call: Call, tmp_path: Path) -> None:
    shapes = make_shapes(tmp_path / "shapes", per_class=20)
    out = tmp_path / "made" / "run"
    options = [*TINY, "--data", shapes, "--epochs", "15", "--lr", "0.01", "--set", "head.dropout=0"]
    options += ["--batch-size", "4", "--out", out]
    trained = call("train", *options, "--json")
    assert trained.exit_code == 0, trained.stderr
    finished = json.loads(trained.stdout)
    assert finished["kind"] == "finished" and finished["epochs"] == 15
    assert [scores["split"] for scores in finished["scores"]] == ["validation", "test"]
    assert finished["adapter_path"] == str(out / "adapter")
    assert "epoch 15/15" in trained.stderr
    assert finished["test_accuracy"] > 0.5  # chance is 1/3; balls, rods and plates are easy

    evaluated = call("evaluate", out / "adapter", "--json")
    assert evaluated.exit_code == 0, evaluated.stderr
    scores = json.loads(evaluated.stdout)
    assert scores["accuracy"] == finished["test_accuracy"]
    assert "warning" not in evaluated.stderr
    assert scores["split"] == "test" and scores["clouds"] == 12
    assert np.array(scores["confusion"]).sum() == 12
    assert list(scores["per_class"]) == ["ball", "plate", "rod"]
    (shapes / "rod" / "0.npy").unlink()
    changed = call("evaluate", out / "adapter")
    assert changed.exit_code == 0 and "warning" in changed.stderr
    moved = json.loads(call("evaluate", out / "adapter", "--data", shapes, "--split", "all", "--json").stdout)
    assert moved["clouds"] == 59
    shown = call("evaluate", out / "adapter", "--split", "validation").output
    assert "Confusion" in shown and "plate" in shown

    clouds = np.stack([np.load(shapes / "rod" / f"{i}.npy")[:64] for i in (1, 2, 3)])
    np.save(tmp_path / "batch.npy", clouds)
    np.save(tmp_path / "one.npy", clouds[0])
    predicted = call("predict", out / "adapter", tmp_path / "batch.npy", tmp_path / "one.npy", "--raw", "--json")
    rows = json.loads(predicted.stdout)
    assert [Path(row["cloud"]).name for row in rows] == ["batch.npy[0]", "batch.npy[1]", "batch.npy[2]", "one.npy"]
    assert rows[0]["logits"] == pytest.approx(rows[3]["logits"], abs=1e-5)
    assert sum(rows[0]["probabilities"]) == pytest.approx(1, abs=1e-5)
    classes = ["ball", "plate", "rod"]
    for row in rows:
        assert row["label"] == classes[int(np.argmax(row["logits"]))] == row["top"][0]["label"]
        assert all(np.float32(value) == value for value in row["logits"])  # nothing was rounded
    scaled = json.loads(call("predict", out / "adapter", tmp_path / "one.npy", "--json").stdout)
    assert scaled[0]["logits"] != rows[3]["logits"]  # without --raw the cloud is normalised first
    text = call("predict", out / "adapter", tmp_path / "one.npy", "--top", "2").output
    assert text.count("%") == 2 and "one.npy: " in text


def test_predict_raw_equals_the_model(call: Call, shapes: Path, tmp_path: Path) -> None:
    from pointsmith.core.predict import Predictor

    out = tmp_path / "run"
    assert call("train", *TINY, "--data", shapes, "--epochs", "1", "--out", out).exit_code == 0
    cloud = np.random.default_rng(1).normal(3.0, 2.0, (80, 3)).astype(np.float32)
    np.save(tmp_path / "cloud.npy", cloud)
    row = json.loads(call("predict", out / "adapter", tmp_path / "cloud.npy", "--raw", "--json").stdout)[0]
    expected = Predictor.load(out / "adapter").predict([cloud], raw=True)[0]
    assert row["logits"] == pytest.approx(expected.logits.tolist(), abs=1e-6)


def test_default_folder_and_plain_lines(call: Call, shapes: Path) -> None:
    result = call("train", *TINY, "--data", shapes, "--epochs", "1")
    assert result.exit_code == 0
    assert "\r" not in result.output and "\x1b" not in result.output
    (folder,) = Path("runs").iterdir()
    assert folder.name.endswith("-dapt-folder")
    assert f"Adapter: {folder / 'adapter'}" in result.output
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_interrupt_and_resume(call: Call, shapes: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = [*TINY, "--data", shapes, "--epochs", "40"]
    stdout, stderr = interrupted(["train", *options, "--json"], parts, "checkpoint/latest.json")
    assert f"pointsmith train --out {parts} --resume" in stderr
    stopped = json.loads(stdout)
    assert stopped["kind"] == "interrupted" and stopped["epoch"] < 40
    assert not (parts / "adapter").exists()

    resumed = json.loads(call("train", "--out", parts, "--resume", "--device", "cpu", "--json").stdout)
    uninterrupted = json.loads(call("train", *options, "--out", whole, "--json").stdout)
    for key in ("best_epoch", "epochs", "validation_accuracy", "test_accuracy", "scores"):
        assert resumed[key] == uninterrupted[key], key
    ours, theirs = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (parts, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_interrupt_before_training_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    # So many generated clouds that loading takes far longer than this test waits.
    process = start(["train", *TINY, "--data", "demo", "--set", "data.train_per_class=2000", "--out", out])
    while "Loading demo" not in process.read_line():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.finish()
    assert process.returncode == 130
    assert stderr.strip() and "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


def test_resume_refuses(call: Call, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert call("train", *TINY, "--data", shapes, "--epochs", "1", "--out", out).exit_code == 0
    for words, said in (
        (["--resume"], "--resume needs the folder"),
        (["--resume", "--out", tmp_path / "absent"], "nothing to resume"),
        (["--resume", "--out", out, "--epochs", "2"], "another configuration"),
        ([*TINY, "--data", shapes, "--out", out], "not empty"),
    ):
        result = call("train", *words)
        assert result.exit_code == 2 and said in result.stderr, result.stderr
    assert not (tmp_path / "absent").exists()
    assert (out / "adapter").is_dir()


def test_pretrain_then_train_on_it(call: Call, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "pre"
    sizes = [word for key, value in SIZES.items() for word in ("--set", f"backbone.{key}={value}")]
    words = ["--data", shapes, *sizes, "--set", "points=64", "--set", "decoder_depth=1", "--batch-size", "8"]
    result = call("pretrain", *words, "--epochs", "2", "--device", "cpu", "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    made = json.loads(result.stdout)
    assert made["kind"] == "pretrained" and Path(made["path"]).is_file()
    assert "Epoch 2: loss" in result.stderr
    weights = ["--set", f"backbone.weights={made['path']}"]
    trained = call("train", *TINY, *weights, "--data", shapes, "--epochs", "1", "--out", tmp_path / "run")
    assert trained.exit_code == 0, trained.stderr
    config = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert config["backbone"]["sha256"] == made["sha256"]
    again = call("pretrain", *words, "--out", out)
    assert again.exit_code == 2 and "pre" in again.stderr


def test_pretrain_refuses(call: Call, tmp_path: Path) -> None:
    for words, said in (
        (["--data", tmp_path / "absent"], "absent"),
        (["--set", "mask_ratio=2"], "mask_ratio"),
        (["--set", "backbone.nonsense=2"], "backbone.nonsense"),
        (["--set", "points=16"], "16"),
    ):
        result = call("pretrain", *words, "--out", tmp_path / "pre")
        assert result.exit_code == 2 and said in result.stderr, result.stderr
        assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
        assert not (tmp_path / "pre").exists()


def test_options_become_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_shapes(Path("shapes"), per_class=1)
    run = make_run(RunOptions(recipe="demo", epochs=3, batch_size=16, lr=1e-5, seed=7, settings=("method.rank=8",)))
    assert (run.epochs, run.batch_size, run.optim.lr, run.seed) == (3, 16, 1e-5, 7)
    assert run.method.model_dump() == {"kind": "dapt", "rank": 8, "dropout": 0.0, "tfts": True}
    same = make_run(RunOptions(recipe="demo", method="dapt"))
    assert same.method.model_dump()["rank"] == 32  # naming the recipe's own method keeps its settings
    assert make_run(RunOptions(recipe="demo", method="probe")).method.kind == "probe"
    folder = make_run(RunOptions(data="shapes"))
    assert folder.data.kind == "folder" and folder.data.path == tmp_path / "shapes"
    Path("scan.h5").write_bytes(b"")
    scan = make_run(RunOptions(recipe="dapt-scan-hardest", data="scan.h5"))
    assert scan.data.kind == "h5" and scan.data.train == tmp_path / "scan.h5"
    assert scan.data.preparation.points == 2048
    Path("run.yaml").write_text("epochs: 4\nmethod: {kind: probe}\n")
    assert make_run(RunOptions(config=Path("run.yaml"))).method.kind == "probe"
    weights = make_run(RunOptions(backbone="own", settings=("backbone.weights=mine.safetensors",)))
    assert weights.backbone.weights == str(tmp_path / "mine.safetensors")


@pytest.mark.parametrize("name", ["demo", "dapt-scan-objonly", "own-scans"])
def test_the_pages_command_line_is_the_same_run(name: str) -> None:
    run = make_run(RunOptions(recipe=name, seed=3, settings=("optim.lr=1e-5", "augment.shift=0.05")))
    words = shlex.split(command_line(run))
    assert words[:2] == ["pointsmith", "train"]
    parsed = train.make_context("train", words[2:]).params
    chosen = {key: value for key, value in parsed.items() if key in RunOptions.__dataclass_fields__}
    assert make_run(RunOptions(**chosen)) == run
