"""Folding an adapter into its backbone changes no answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pointsmith.core.adapters import describe, read_adapter_config, save_adapter
from pointsmith.core.building import build
from pointsmith.core.errors import UserError
from pointsmith.core.merging import merge
from pointsmith.core.predict import Predictor

from tests.support.tiny import BACKBONE, BACKBONES, tiny_run

CLASSES = ("a", "b", "c", "d", "e")


def trained_adapter(folder: Path, method: dict, **changes) -> Path:
    """Save an adapter whose every trained number is far from where it started."""
    run = tiny_run(method, backbone={**BACKBONE, **changes})
    built = build(run, len(CLASSES))
    torch.manual_seed(2)
    with torch.no_grad():
        for _, parameter in built.model.trainable():
            parameter.add_(0.3 * torch.randn_like(parameter))
    save_adapter(folder, built, describe(built, run, CLASSES, metrics={"test_accuracy": 0.5}))
    return folder


def logits(folder: Path) -> np.ndarray:
    clouds = np.random.default_rng(0).normal(size=(6, 64, 3)).astype(np.float32)
    return np.stack([one.logits for one in Predictor.load(folder).predict(list(clouds))])


FOLDABLE = [
    ({"kind": "ssf"}, "probe", 0),
    ({"kind": "ssf", "ends": True}, "probe", 0),
    ({"kind": "lora", "rank": 4}, "probe", 0),
    ({"kind": "lora", "rank": 4, "targets": ["qkv", "proj", "fc1", "fc2"], "scale": 0.5}, "probe", 0),
    ({"kind": "bitfit", "where": "all"}, "probe", 0),
    ({"kind": "norm-tuning", "train_cls": True}, "probe", 0),
    ({"kind": "full"}, "probe", 0),
    ({"kind": "dapt", "rank": 4}, "dapt", 4),
    ({"kind": "dapt-x", "rank": 4, "heads": 3, "tfts": True}, "dapt-x", 5),
]


@pytest.mark.parametrize(
    ("method", "remains", "rows"), FOLDABLE, ids=[str(m["kind"]) + str(len(m)) for m, _, _ in FOLDABLE]
)
def test_merged_logits_are_equal(tmp_path: Path, method: dict, remains: str, rows: int) -> None:
    folder = trained_adapter(tmp_path / "adapter", method)
    before = logits(folder)
    done = merge(folder, tmp_path / "merged")
    assert (done.method, done.remaining) == (remains, rows)
    assert np.abs(logits(tmp_path / "merged") - before).max() <= 1e-5
    config = read_adapter_config(tmp_path / "merged")
    assert config.merged_from is not None and config.merged_from.method.kind == method["kind"]
    assert config.metrics == {"test_accuracy": 0.5}
    assert "cannot be taken off" in (tmp_path / "merged" / "README.md").read_text()
    assert np.array_equal(logits(folder), before)  # the adapter itself is untouched


@pytest.mark.parametrize("place", ["point-m2ae", "vit"])
@pytest.mark.parametrize("method", [{"kind": "ssf", "ends": True}, {"kind": "lora", "rank": 2}])
def test_merging_works_on_the_other_backbones(tmp_path: Path, place: str, method: dict) -> None:
    run = tiny_run(method, backbone=BACKBONES[place])
    built = build(run, len(CLASSES))
    with torch.no_grad():
        for name, parameter in built.model.trainable():
            parameter.add_(0.3 * torch.rand_like(parameter) if "gamma" in name else 0.3 * torch.randn_like(parameter))
    save_adapter(tmp_path / "adapter", built, describe(built, run, CLASSES))
    done = merge(tmp_path / "adapter", tmp_path / "merged")
    assert done.remaining == 0 and done.difference <= 1e-5


def test_a_negative_scale_of_the_tokens_survives_the_maximum_over_a_group(tmp_path: Path) -> None:
    run = tiny_run({"kind": "ssf", "ends": True})
    built = build(run, len(CLASSES))
    rows = dict(built.model.method.attachments())
    with torch.no_grad():
        rows["patch_embed"].gamma[::2] = -1.5
    save_adapter(tmp_path / "adapter", built, describe(built, run, CLASSES))
    merge(tmp_path / "adapter", tmp_path / "merged")
    assert np.abs(logits(tmp_path / "merged") - logits(tmp_path / "adapter")).max() <= 1e-5


@pytest.mark.parametrize("method", [{"kind": "vpt"}, {"kind": "adaptformer"}, {"kind": "adapter-x"}, {"kind": "probe"}])
def test_what_cannot_be_folded_is_refused(tmp_path: Path, method: dict) -> None:
    folder = trained_adapter(tmp_path / "adapter", method)
    with pytest.raises(UserError, match="fold"):
        merge(folder, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        merge(tmp_path, tmp_path)
