"""The vision transformer: its published sizes, its two kinds of file, and every method on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pointsmith.core.config import choices
from pointsmith.core.errors import UserError
from pointsmith.core.models.backbones import OwnBackboneConfig, PointMAEConfig
from pointsmith.core.models.files import read_tensors
from pointsmith.core.models.head import ClassificationHead, HeadConfig
from pointsmith.core.models.load import load_backbone
from pointsmith.core.models.vit import AugRegViTConfig, ViTConfig
from pointsmith.core.peft.method import MethodConfig
from pointsmith.core.peft.tuned_model import Tuned
from safetensors.torch import save_file

TINY: dict[str, Any] = {"dim": 48, "depth": 2, "heads": 3, "image_size": 32, "patch_size": 8}
METHODS = sorted(choices("method"))


def method_of(kind: str, **settings: Any) -> MethodConfig:
    cls = choices("method")[kind]
    assert issubclass(cls, MethodConfig)
    return cls(**settings)


def count(kind: str, **settings: Any) -> int:
    """Return what the method trains on ViT-B/16, without a head; nothing is allocated."""
    config, method = ViTConfig(), method_of(kind, **settings)
    method.check(config.shape)
    with torch.device("meta"):
        trunk, built = config.build("once"), method.build(config.shape)
    own = sum(parameter.numel() for parameter in built.parameters())
    return own + sum(parameter.numel() for name, parameter in trunk.named_parameters() if built.tunes(name))


def test_it_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ViTConfig().build("once").parameters()) == 85_798_656


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("adapter", {"rank": 8}, 156_768),
        ("adapter", {"rank": 64}, 1_189_632),
        ("lora", {"rank": 8, "targets": ("qkv",)}, 294_912),  # NOAH: on the fused projection
        ("lora", {"rank": 8, "targets": ("qv",)}, 294_912),  # PETL-ViT: queries and values apart, the same number
        ("adaptformer", {"rank": 64}, 1_189_632),
        ("adaptformer-x", {}, 173_568),
        ("adapter-x", {}, 173_568),
        ("adaptformer-x", {"prompts": "none", "tune_norm2": False}, 148_992),  # the shared mixture alone
        ("adaptformer-x", {"shared": False, "prompts": "none"}, 1_806_336),
        ("adaptformer-x", {"shared": False}, 1_812_480),
        ("adaptformer-x", {"shared": False, "prompt_width": "token"}, 1_824_768),
        ("bitfit", {}, 101_376),  # published 0.10 M
        ("bitfit", {"where": "all"}, 102_912),  # published 0.10 M
        ("ssf", {"ends": True}, 205_824),  # published 0.24 M, with a head of 38,066 (49.5 classes, VTAB's mean)
        ("vpt", {"prompts": 50, "positions_too": False}, 460_800),  # published 0.53 M; lengths differ from task to task
    ],
)
def test_published_counts_without_head(kind: str, settings: dict[str, Any], expected: int) -> None:
    assert count(kind, **settings) == expected


def tuned(kind: str) -> Tuned:
    config = ViTConfig(weights="random", drop_path=0.0, **TINY)
    method = method_of(kind, **({"neighbours": 4} if kind == "idpt" else {}))
    trunk = load_backbone(config, seed=3).trunk
    torch.manual_seed(4)
    head = ClassificationHead(HeadConfig(), method.head_parts(config.shape), config.dim, 5, kind=config.shape.head)
    return Tuned(trunk, method.build(config.shape), head)


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_trains_on_images_and_nothing_else_moves(kind: str) -> None:
    model = tuned(kind).train()
    torch.manual_seed(5)
    with torch.no_grad():  # what starts at zero would hide mistakes
        for name, parameter in model.trainable():
            parameter.add_(0.1 * torch.randn_like(parameter))
            if name.endswith("scale.bias"):  # the gate of the dynamic adapter, open for every token
                parameter.fill_(1.0)
    images = torch.randn(4, 3, 32, 32)
    torch.nn.functional.cross_entropy(model(images), torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == parameter.requires_grad, name


def test_patches_stand_row_by_row_and_their_centres_say_where() -> None:
    trunk = ViTConfig(weights="random", **TINY).build("once").eval()
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, 8:16, 24:32] = 1.0  # second row, last column
    changed = trunk.get_submodule("patch_embed")(image) - trunk.get_submodule("patch_embed")(torch.zeros_like(image))
    index = int(changed.abs().sum(dim=-1).argmax())
    tokens, centres = trunk.places(image)
    assert tokens.shape == (1, 17, 48) and centres.shape == (1, 16, 3)
    assert index == 7 and centres[0, index].tolist() == [0.875, 0.375, 0.0]


def test_images_of_another_size_are_refused() -> None:
    trunk = ViTConfig(weights="random", **TINY).build("once")
    with pytest.raises(UserError, match=r"\(3, 32, 32\)"):
        trunk(torch.zeros(1, 3, 40, 32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"heads": 5}, "multiple of heads"), ({"image_size": 33}, "multiple of patch_size")],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViTConfig(**TINY | changes)


def timm_file(folder: Path, **changes: torch.Tensor | None) -> Path:
    """Write random weights of the tiny model under timm's names, with a head; None takes a tensor away."""
    tensors = dict(ViTConfig(weights="random", **TINY).build("once").state_dict())
    tensors |= {"head.weight": torch.zeros(7, 48), "head.bias": torch.zeros(7), "pre_logits.fc.bias": torch.zeros(48)}
    kept = {name.replace("__", "."): tensor for name, tensor in (tensors | changes).items() if tensor is not None}
    save_file(kept, folder / "model.safetensors")
    return folder / "model.safetensors"


def test_timms_file_fills_it_and_its_head_is_left_out(tmp_path: Path) -> None:
    path = timm_file(tmp_path)
    for backbone in (ViTConfig, AugRegViTConfig):
        loaded = load_backbone(backbone(weights=str(path), **TINY))
        assert not loaded.initialised
        assert torch.equal(loaded.trunk.get_parameter("pos_embed"), read_tensors(path)["pos_embed"])


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    path = timm_file(tmp_path, stranger=torch.zeros(1), norm__bias=None)
    with pytest.raises(UserError, match=r"unknown \(stranger\)"):
        load_backbone(ViTConfig(weights=str(path), **TINY))
    with pytest.raises(UserError, match=r"pos_embed is \(1, 17, 48\), not \(1, 5, 48\)"):
        load_backbone(ViTConfig(weights=str(path), **TINY | {"patch_size": 16}))
    with pytest.raises(UserError, match="not a file of Point-MAE"):
        load_backbone(PointMAEConfig(weights=str(path)))
    with pytest.raises(UserError, match="does not fit"):
        load_backbone(OwnBackboneConfig(weights=str(path)))
    cloud = OwnBackboneConfig(dim=48, depth=2, heads=3).build("once").state_dict()
    save_file(cloud, tmp_path / "cloud.safetensors")
    with pytest.raises(UserError, match="not a file of ViT-B/16"):
        load_backbone(ViTConfig(weights=str(tmp_path / "cloud.safetensors"), **TINY))


def google_arrays() -> dict[str, np.ndarray]:
    """A tiny file in Google's layout, from shapes alone."""
    rng = np.random.default_rng(6)
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, 48),
        "embedding/kernel": (8, 8, 3, 48),
        "embedding/bias": (48,),
        "Transformer/posembed_input/pos_embedding": (1, 17, 48),
        "Transformer/encoder_norm/scale": (48,),
        "Transformer/encoder_norm/bias": (48,),
        "head/kernel": (48, 7),
        "head/bias": (7,),
    }
    for i in range(2):
        stem = f"Transformer/encoderblock_{i}"
        shapes |= {f"{stem}/LayerNorm_{n}/{leaf}": (48,) for n in (0, 2) for leaf in ("scale", "bias")}
        shapes |= {f"{stem}/MlpBlock_3/Dense_0/kernel": (48, 192), f"{stem}/MlpBlock_3/Dense_0/bias": (192,)}
        shapes |= {f"{stem}/MlpBlock_3/Dense_1/kernel": (192, 48), f"{stem}/MlpBlock_3/Dense_1/bias": (48,)}
        attention = f"{stem}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes |= {f"{attention}/{part}/kernel": (48, 3, 16), f"{attention}/{part}/bias": (3, 16)}
        shapes |= {f"{attention}/out/kernel": (3, 16, 48), f"{attention}/out/bias": (48,)}
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def load_npz(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(folder / "ViT.npz", **arrays)  # pyright: ignore[reportArgumentType]
    load_backbone(ViTConfig(weights=str(folder / "ViT.npz"), **TINY))


def test_googles_file_fills_it(tmp_path: Path) -> None:
    arrays = google_arrays()
    np.savez(tmp_path / "ViT.npz", **arrays)  # pyright: ignore[reportArgumentType]
    loaded = load_backbone(ViTConfig(weights=str(tmp_path / "ViT.npz"), **TINY))
    assert not loaded.initialised
    keys = arrays["Transformer/encoderblock_1/MultiHeadDotProductAttention_1/key/kernel"]
    row = loaded.trunk.get_parameter("blocks.1.attn.qkv.weight")[48 + 16 * 2 + 5]  # key 5 of the third head
    assert np.array_equal(row.detach().numpy(), keys[:, 2, 5])


def test_a_damaged_or_foreign_npz_is_refused(tmp_path: Path) -> None:
    key = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/key/bias"
    arrays = google_arrays()
    with pytest.raises(UserError, match=r"1 missing \(blocks\.1\.attn\.qkv\.bias\)"):
        load_npz(tmp_path, {name: array for name, array in arrays.items() if name != key})
    with pytest.raises(UserError, match=r"1 unknown \(Transformer/stranger\)"):
        load_npz(tmp_path, arrays | {"Transformer/stranger": np.zeros(2)})
    with pytest.raises(UserError, match="unexpected shape"):
        load_npz(tmp_path, arrays | {"embedding/kernel": np.zeros((8, 8))})
    with pytest.raises(UserError, match="of no known layout"):
        load_npz(tmp_path, {"points": np.zeros((5, 3))})
    with pytest.raises(UserError, match="arrays only"):
        load_npz(tmp_path, arrays | {"cls": np.array([Path("x")], dtype=object)})
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_backbone(ViTConfig(weights=str(tmp_path / "text.npz"), **TINY))
