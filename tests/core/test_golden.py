"""Our models answer what the published implementations answer, through the reader of the published files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pointsmith.core.errors import UserError
from pointsmith.core.importing import import_checkpoint
from pointsmith.core.models.backbones import PointBERTConfig, PointMAEConfig
from pointsmith.core.models.files import read_tensors
from pointsmith.core.models.load import load_backbone
from pointsmith.core.models.point_transformer import PointTransformerConfig
from pointsmith.core.models.vit import ViTConfig
from pointsmith.core.predict import Predictor
from safetensors.torch import save_file

from tests.support.paths import GOLDEN
from tests.support.standin import stand_in, stand_in_clouds, stand_in_weights

CASES = sorted(path.stem for path in GOLDEN.glob("*.npz") if not path.stem.startswith("images-"))


def published_file(case: dict, folder: Path) -> Path:
    """Write the case's weights as they are published: a safetensors file, or a .pth with `base_model`."""
    weights = stand_in_weights(case["shapes"], case["seed"])
    if case["case"].startswith("hub/"):
        save_file(weights, folder / "model.safetensors")
        return folder / "model.safetensors"
    content = {"base_model": {f"module.{name}": tensor for name, tensor in weights.items()}, "epoch": 3}
    torch.save(content, folder / "ckpt.pth")
    return folder / "ckpt.pth"


@pytest.mark.parametrize("name", CASES)
def test_published_logits_and_counts(name: str, tmp_path: Path) -> None:
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    import_checkpoint(published_file(case, tmp_path), case["case"], tmp_path / "adapter")
    predictor = Predictor.load(tmp_path / "adapter")
    clouds = stand_in_clouds(case["batch"], case["points"], case["seed"] + 1000)
    logits = np.stack([answer.logits for answer in predictor.predict(list(clouds), raw=True)])
    assert np.abs(logits - np.load(GOLDEN / f"{name}.npz")["logits"]).max() <= 1e-4
    if "trainable" in case:
        assert predictor.model.count()[0] == sum(case["trainable"].values())


@pytest.mark.parametrize(
    ("name", "backbone", "prefix", "drawn"),
    [
        ("hub-point-mae-base.pretrain.yatian-pang", PointMAEConfig, "MAE_encoder.blocks.", {"cls_token", "cls_pos"}),
        ("hub-point-bert-base.pretrain.xumin-yu", PointBERTConfig, "", set()),
    ],
)
def test_pretraining_file_of_the_hub_fills_the_backbone(
    name: str, backbone: type[PointTransformerConfig], prefix: str, drawn: set[str], tmp_path: Path
) -> None:
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    loaded = load_backbone(backbone(weights=str(published_file(case, tmp_path))))
    assert loaded.initialised == drawn
    theirs = stand_in_weights(case["shapes"], case["seed"])[f"{prefix}blocks.7.mlp.lins.1.weight"]
    assert torch.equal(loaded.trunk.get_parameter("blocks.7.mlp.fc2.weight"), theirs)


def image_file(case: dict, folder: Path) -> Path:
    """Write the case's weights as timm publishes them, or as Google does."""
    if case["case"] == "vit/timm":
        save_file(stand_in_weights(case["shapes"], case["seed"]), folder / "model.safetensors")
        return folder / "model.safetensors"
    filled = {
        name: stand_in(name.replace("/scale", "/weight"), shape, case["seed"]).numpy()
        for name, shape in case["shapes"].items()
    }
    np.savez(folder / "ViT-B_16.npz", **filled)
    return folder / "ViT-B_16.npz"


@pytest.mark.parametrize("name", ["images-vit-timm", "images-vit-google"])
def test_the_vision_transformer_answers_as_timms(name: str, tmp_path: Path) -> None:
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    path = image_file(case, tmp_path)
    trunk = load_backbone(ViTConfig(weights=str(path), **case["model"])).trunk.eval()
    size = case["model"]["image_size"]
    images = np.random.default_rng(case["seed"] + 1000).standard_normal((case["batch"], 3, size, size))
    with torch.no_grad():
        tokens = trunk(torch.from_numpy(images.astype(np.float32)))
    answer = np.load(GOLDEN / f"{name}.npz")
    assert np.abs(tokens.numpy() - answer["tokens"]).max() <= 1e-4
    head = read_tensors(path)
    logits = tokens[:, 0] @ head["head.weight"].T + head["head.bias"]
    assert np.abs(logits.numpy() - answer["logits"]).max() <= 1e-4


def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    case = json.loads((GOLDEN / "dapt-scan_hardest.json").read_text())
    weights = stand_in_weights(case["shapes"], case["seed"])
    del weights["norm.bias"]
    weights["stranger"] = torch.zeros(1)
    weights["blocks.blocks.0.tfts_beta_3"] = torch.zeros(5)
    torch.save({"base_model": weights}, tmp_path / "ckpt.pth")
    with pytest.raises(UserError) as caught:
        import_checkpoint(tmp_path / "ckpt.pth", "dapt/scan_hardest", tmp_path / "adapter")
    for word in (
        "1 missing (trunk.norm.bias)",
        "1 unknown (stranger)",
        "method.blocks.0.prompt.beta is (5,), not (384,)",
    ):
        assert word in str(caught.value)
    assert not (tmp_path / "adapter").exists()


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"base_model": {"norm.weight": Evil()}}, tmp_path / "ckpt.pth")
    with pytest.raises(UserError, match="tensors only"):
        import_checkpoint(tmp_path / "ckpt.pth", "dapt/scan_hardest", tmp_path / "adapter")
    assert not (tmp_path / "ran").exists()
