"""Masked pre-training: what it hides, that it learns, that it resumes, and that its file is a backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pointsmith.core.errors import UserError
from pointsmith.core.models.backbones import OwnBackboneConfig
from pointsmith.core.models.load import load_backbone
from pointsmith.core.models.masked import chamfer
from pointsmith.core.training.pretrain import PretrainConfig, pretrain

from tests.support.tiny import BACKBONE


def config(**changes) -> PretrainConfig:
    content = {"backbone": BACKBONE, "data": {"kind": "generated", "count": 24}, "points": 64, "decoder_depth": 1}
    return PretrainConfig.model_validate({**content, "epochs": 2, "batch_size": 8, "half_file": True, **changes})


def test_chamfer_is_zero_for_the_same_points_in_any_order() -> None:
    cloud = torch.randn(2, 9, 3)
    assert chamfer(cloud, cloud[:, torch.randperm(9)]) == 0
    apart = chamfer(torch.zeros(1, 1, 3), torch.tensor([[[3.0, 0.0, 4.0]]]))
    assert apart == pytest.approx(50.0)  # 25 each way


def test_an_interrupted_pretraining_makes_the_very_same_backbone(tmp_path: Path) -> None:
    whole = list(pretrain(config(), tmp_path / "whole", device="cpu"))[-1]
    asked = iter(range(100))
    first = list(pretrain(config(), tmp_path / "parts", device="cpu", stop=lambda: next(asked) > 4))
    assert first[-1].kind == "interrupted"
    second = list(pretrain(config(), tmp_path / "parts", device="cpu"))[-1]
    assert second.kind == whole.kind == "pretrained"
    assert second.sha256 == whole.sha256 and second.loss == whole.loss
    loaded = load_backbone(OwnBackboneConfig(**{**BACKBONE, "weights": str(tmp_path / "whole" / whole.file)}))
    assert loaded.sha256 == whole.sha256 and loaded.initialised == {"cls_token", "cls_pos"}


def test_too_few_points_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too small for the backbone"):
        list(pretrain(config(backbone={**BACKBONE, "groups": 512}), tmp_path / "run", device="cpu"))
    assert not (tmp_path / "run").exists()
