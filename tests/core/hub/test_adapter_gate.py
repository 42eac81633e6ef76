"""Adapters of strangers: what is hostile is refused by every way in, and an honest one answers by the same way."""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pointsmith.core.adapters import CONFIG_NAME, WEIGHTS_NAME, AdapterConfig, describe, save_adapter, typed_metrics
from pointsmith.core.building import build
from pointsmith.core.errors import UserError
from pointsmith.core.hub.pull import kept, remove_unreadable, unreadable
from pointsmith.core.predict import Predictor
from pointsmith.core.serving.server import Server
from safetensors.torch import load_file, save_file

from tests.support.tiny import M2AE, tiny_run

CLOUD = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
COMMIT = "0" * 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tiny_run({"kind": "lora", "rank": 2})
    built = build(run, 5)
    folder = tmp_path_factory.mktemp("run") / "adapter"
    metrics = {"test_accuracy": 0.5, "metric": "accuracy", "best_epoch": 1, "epochs": 2, "selected_on": "last"}
    save_adapter(folder, built, describe(built, run, tuple("abcde"), metrics=metrics))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def by_predictor(folder: Path) -> str:
    return Predictor.load(folder, untrusted=True).predict([CLOUD])[0].label


def by_pulled_note(folder: Path) -> str:
    (folder / "pulled.json").write_text(json.dumps({"name": "eve/x", "revision": COMMIT, "files": {}, "at": 1.0}))
    return Predictor.load(folder).predict([CLOUD])[0].label


def by_server(folder: Path) -> str:
    server = Server()
    try:
        return server.open(folder, untrusted=True).predict([CLOUD])[0].label
    finally:
        server.close()


WAYS = {"predictor": by_predictor, "pulled": by_pulled_note, "server": by_server}


def config_with(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / CONFIG_NAME).read_text())
        change(content)
        (folder / CONFIG_NAME).write_text(json.dumps(content))

    return apply


def backbone_with(**changes: Any) -> Callable[[Path], None]:
    return config_with(lambda content: content["run"]["backbone"].update(changes))


def weights_link(folder: Path) -> None:
    target = folder.parent / "elsewhere.safetensors"
    (folder / WEIGHTS_NAME).rename(target)
    (folder / WEIGHTS_NAME).symlink_to(target)


def pipe(folder: Path) -> None:
    (folder / CONFIG_NAME).unlink()
    os.mkfifo(folder / CONFIG_NAME)


def header_of(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = (folder / WEIGHTS_NAME).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        (folder / WEIGHTS_NAME).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return apply


def overlap(header: dict[str, Any]) -> None:
    tensors = sorted(key for key in header if key != "__metadata__")
    header[tensors[0]] = dict(header[tensors[1]])


def enormous_shape(header: dict[str, Any]) -> None:
    entry = next(value for key, value in header.items() if key != "__metadata__")
    entry["shape"] = [2**40, 2**40]


def many(header: dict[str, Any]) -> None:
    header.update({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)})


def long_header(folder: Path) -> None:
    content = (folder / WEIGHTS_NAME).read_bytes()
    (folder / WEIGHTS_NAME).write_bytes(struct.pack("<Q", 2**63) + content[8:])


def not_finite(folder: Path) -> None:
    state = load_file(folder / WEIGHTS_NAME)
    state = {name: tensor.clone() for name, tensor in state.items()}
    next(tensor for tensor in state.values() if tensor.is_floating_point()).view(-1)[0] = torch.nan
    save_file(state, folder / WEIGHTS_NAME)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "weights of the system": backbone_with(weights="/etc/passwd"),
    "weights above": backbone_with(weights="../secret.safetensors"),
    "weights beside": backbone_with(weights="setup.py"),
    "linked weights": weights_link,
    "a pipe": pipe,
    "long header": long_header,
    "overlapping tensors": header_of(overlap),
    "enormous shape": header_of(enormous_shape),
    "many tensors": header_of(many),
    "not finite": not_finite,
    "nested config": lambda folder: (folder / CONFIG_NAME).write_text("[" * 100_000) and None,
    "large config": lambda folder: (folder / CONFIG_NAME).write_text(" " * (5 << 20)) and None,
    "giant model": backbone_with(dim=2048, depth=48, heads=2),
    "giant depth": backbone_with(kind="demo", depth=10**9),
    "giant stages": config_with(lambda c: c["run"].update(backbone={**M2AE, "depths": [1, 1, 10**9]})),
    "giant widths": backbone_with(widths=[10**9, 8, 8]),
    "giant token": backbone_with(token_dim=10**9),
    "many classes": config_with(lambda c: c.update(classes=["a"] * 20_000)),
    "long class": config_with(lambda c: c.update(classes=["a" * 10_000, *"bcde"])),
    "no class": config_with(lambda c: c.update(classes=[])),
    "no parameters": config_with(lambda c: c.update(total_parameters=0)),
    "text for a count": config_with(lambda c: c.update(trainable_parameters="many")),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_honest_adapter_answers_by_every_way(way, files: dict[str, bytes], tmp_path: Path) -> None:
    assert way(write(tmp_path / "adapter", files)) in "abcde"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("attack", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_adapter_is_refused_by_every_way(attack, way, files: dict[str, bytes], tmp_path: Path) -> None:
    folder = write(tmp_path / "adapter", files)
    attack(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as refused:
        way(folder)
    assert str(tmp_path) not in str(refused.value) and len(str(refused.value)) < 1000
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


METRICS = ("metric", "test_accuracy", "validation_accuracy", "best_epoch", "epochs", "selected_on", "scores", "memory")


@pytest.mark.parametrize("value", ["many", float("nan"), -1, 1e300, [], {"a": 1}, [[1]], True, None], ids=repr)
@pytest.mark.parametrize("key", [*METRICS, "peak_memory_bytes", "device", "invented"])
def test_an_untyped_metric_costs_only_itself(key: str, value: Any) -> None:
    honest = {"test_accuracy": 0.5, "best_epoch": 1}
    typed = typed_metrics({**honest, key: value})
    assert all(typed[name] == number for name, number in honest.items() if name != key)
    words = ("metric", "memory", "device")
    assert (
        typed.get(key) in (None, [])
        or (key in words and value == "many")
        or key in honest | {"epochs": 0} | {"peak_memory_bytes": 0}
    )
    assert not isinstance(typed.get("test_accuracy"), str)


def put(shelf: Path, name: str, files: dict[str, bytes], change: Callable[[Path], None] = lambda _: None) -> Path:
    folder = write(shelf / name.replace("/", "--") / COMMIT, files)
    note = {"name": name, "revision": COMMIT, "files": {}, "at": 1.0}
    (folder / "pulled.json").write_text(json.dumps(note))
    change(folder)
    return folder


@pytest.mark.parametrize("field", AdapterConfig.model_fields)
def test_one_bad_entry_costs_only_itself_and_can_be_removed(
    field: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    put(tmp_path, "ada/honest", files)
    put(tmp_path, "eve/text", files, config_with(lambda content: content.update({field: "text"})))
    names = {entry.id.name for entry in kept(tmp_path)}
    assert "ada/honest" in names
    damaged = unreadable(tmp_path)
    assert len(names) + len(damaged) == 2
    for entry in damaged:
        remove_unreadable(entry.name, tmp_path)
    assert unreadable(tmp_path) == [] and {entry.id.name for entry in kept(tmp_path)} == names


def test_a_score_that_is_a_text_leaves_the_adapter_listed(files: dict[str, bytes], tmp_path: Path) -> None:
    put(tmp_path, "eve/text", files, config_with(lambda content: content["metrics"].update(test_accuracy="very good")))
    (entry,) = kept(tmp_path)
    assert entry.score is None
