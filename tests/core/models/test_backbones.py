"""Every backbone reads its published layout, and no file of another one passes for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pointsmith.core.building import measure
from pointsmith.core.config import parse_config
from pointsmith.core.errors import UserError
from pointsmith.core.models.backbones import (
    ACTConfig,
    MaskPointConfig,
    OcCoConfig,
    OwnBackboneConfig,
    PointBERTConfig,
    PointMAEConfig,
    ReConConfig,
)
from pointsmith.core.models.layouts import LAYOUTS, recognise
from pointsmith.core.models.load import load_backbone, source_of
from pointsmith.core.models.point_transformer import PointTransformerConfig
from safetensors.torch import save_file

Shapes = dict[str, list[int]]
TINY: dict[str, Any] = {"dim": 24, "depth": 2, "heads": 2, "groups": 8, "group_size": 8}
DIM, HIDDEN, DEPTH = 24, 96, 2
CLASS_TOKEN = {"cls_token", "cls_pos"}


def blocks(stem: str, mlp: tuple[str, str] = ("mlp.fc1", "mlp.fc2"), depth: int = DEPTH) -> Shapes:
    shapes: Shapes = {}
    for i in range(depth):
        for name, shape in (
            ("norm1", [DIM]),
            ("norm2", [DIM]),
            ("attn.proj", [DIM, DIM]),
            (mlp[0], [HIDDEN, DIM]),
            (mlp[1], [DIM, HIDDEN]),
        ):
            shapes |= {f"{stem}{i}.{name}.weight": shape, f"{stem}{i}.{name}.bias": shape[:1]}
        shapes[f"{stem}{i}.attn.qkv.weight"] = [3 * DIM, DIM]
    return shapes


def affine(stem: str, *shape: int) -> Shapes:
    return {f"{stem}.weight": list(shape), f"{stem}.bias": [shape[0]]}


def batch_norm(stem: str, width: int) -> Shapes:
    moving = {f"{stem}.running_mean": [width], f"{stem}.running_var": [width], f"{stem}.num_batches_tracked": []}
    return affine(stem, width) | moving


def tokens(*names: str) -> Shapes:
    return {name: [1, 1, DIM] for name in names}


def authors(prefix: str = "", token: int = DIM, classed: bool = True) -> Shapes:
    """The transformer as the authors of Point-BERT, Point-MAE, ACT, ReCon and MaskPoint name it."""
    shapes = tokens(f"{prefix}cls_token", f"{prefix}cls_pos") if classed else {}
    for stage, first, second, out in (("first_conv", 3, 128, 256), ("second_conv", 512, 512, token)):
        stem = f"{prefix}encoder.{stage}"
        shapes |= affine(f"{stem}.0", second, first, 1) | batch_norm(f"{stem}.1", second)
        shapes |= affine(f"{stem}.3", out, second, 1)
    shapes |= affine(f"{prefix}pos_embed.0", 128, 3) | affine(f"{prefix}pos_embed.2", DIM, 128)
    if token != DIM:
        shapes |= affine(f"{prefix}reduce_dim", DIM, token)
    return shapes | blocks(f"{prefix}blocks.blocks.") | affine(f"{prefix}norm", DIM)


def hub(prefix: str = "", stem: str = "blocks.", token: int = DIM, classed: bool = True) -> Shapes:
    """The same transformer as the Hub's copies name it."""
    shapes = tokens(f"{prefix}cls_token", f"{prefix}cls_pos") if classed else {}
    for stage, first, second, out in (("local_mlp", 3, 128, 256), ("global_mlp", 512, 512, token)):
        part = f"{prefix}encoder.{stage}"
        shapes |= affine(f"{part}.lins.0", second, first) | batch_norm(f"{part}.norms.0.module", second)
        shapes |= affine(f"{part}.lins.1", out, second)
    shapes |= affine(f"{prefix}pos_embed.lins.0", 128, 3) | affine(f"{prefix}pos_embed.lins.1", DIM, 128)
    if token != DIM:
        shapes |= affine(f"{prefix}reduce_dim", DIM, token)
    return shapes | blocks(f"{prefix}{stem}", ("mlp.lins.0", "mlp.lins.1")) | affine(f"{prefix}norm", DIM)


def masked_autoencoder() -> Shapes:
    """What Point-MAE and ReCon throw away."""
    decoder = blocks("MAE_decoder.blocks.") | affine("MAE_decoder.norm", DIM) | affine("increase_dim.0", 96, DIM, 1)
    return tokens("mask_token") | decoder | affine("decoder_pos_embed.0", 128, 3)


def two_copies(heads: Callable[[str], Shapes]) -> Shapes:
    """A trained and a momentum transformer with their heads, and the queue between them."""
    shapes: Shapes = {"queue": [512, 16], "queue_ptr": [1]}
    for copy in ("transformer_q.", "transformer_k."):
        shapes |= authors(copy, token=256) | tokens(f"{copy}mask_token") | heads(copy)
    return shapes


def bert_heads(copy: str) -> Shapes:
    heads = affine(f"{copy}lm_head", 40, DIM) | affine(f"{copy}cls_head.0", 512, DIM)
    return heads | affine(f"{copy}cls_head.2", 512, 512)


def maskpoint_heads(copy: str) -> Shapes:
    decoder = blocks(f"{copy}decoder.blocks.", depth=1)
    return decoder | affine(f"{copy}cls_head.0", 512, DIM) | affine(f"{copy}bin_cls_head.0", 64, DIM)


def recon() -> Shapes:
    shapes = authors("MAE_encoder.") | masked_autoencoder()
    shapes |= tokens(*(f"MAE_encoder.{kind}_{what}" for kind in ("img", "text") for what in ("token", "pos")))
    for i in range(DEPTH):
        stem = f"MAE_encoder.blocks.blocks.{i}."
        shapes |= affine(f"{stem}norm1_contrast", DIM) | affine(f"{stem}norm2_contrast", DIM)
        shapes |= affine(f"{stem}mlp_contrast.fc1", HIDDEN, DIM) | affine(f"{stem}mlp_contrast.fc2", DIM, HIDDEN)
        shapes |= {f"{stem}attn_contrast.q.weight": [DIM, DIM], f"{stem}attn_contrast.kv.weight": [2 * DIM, DIM]}
        shapes |= affine(f"{stem}attn_contrast.proj", DIM, DIM)
    teachers = {"img_encoder.cls_token": [1, 1, 8], "text_encoder.transformer.resblocks.0.attn.in_proj_weight": [8, 8]}
    return shapes | teachers | affine("img_proj", 8, DIM) | affine("text_proj", 8, DIM)


def act() -> Shapes:
    shapes = authors("ACT_encoder.") | tokens("mask_token") | affine("decoder_pos_embed.0", 128, 3)
    shapes |= affine("ACT_encoder.lm_head", 40, DIM) | affine("ACT_encoder.cls_head.0", 512, DIM)
    shapes |= blocks("ACT_decoder.blocks.") | affine("ACT_decoder.norm", DIM) | affine("proj_head", DIM, DIM)
    return shapes | affine("dvae_tokenizer.encoder.first_conv.0", 8, 3, 1)


def momentum_only() -> Shapes:
    return {name: shape for name, shape in two_copies(bert_heads).items() if not name.startswith("transformer_q.")}


HEAD2 = affine("cls_head_finetune.0", 256, 2 * DIM) | affine("cls_head_finetune.3", 40, 256)
HEAD3 = affine("cls_head_finetune.0", 256, 2 * DIM) | affine("cls_head_finetune.8", 15, 256)
DVAE = affine("dvae.encoder.first_conv.0", 8, 3, 1)

FILES: dict[str, tuple[type[PointTransformerConfig], Shapes]] = {
    "pointmae/pretrain": (PointMAEConfig, authors("MAE_encoder.", classed=False) | masked_autoencoder()),
    "hub/point-mae-base.pretrain.yatian-pang": (
        PointMAEConfig,
        hub("MAE_encoder.", "blocks.blocks.", classed=False) | masked_autoencoder(),
    ),
    "pointmae": (PointMAEConfig, authors() | HEAD3),
    "pointbert/pretrain": (PointBERTConfig, two_copies(bert_heads) | DVAE),
    "pointbert/pretrain-momentum": (PointBERTConfig, momentum_only()),
    "pointbert": (PointBERTConfig, authors(token=256) | HEAD2),
    "hub/point-bert-base.pretrain.xumin-yu": (
        PointBERTConfig,
        hub(token=256) | tokens("mask_token") | affine("lm_head", 40, DIM) | affine("cls_head.lins.0", 512, DIM),
    ),
    "hub/point-bert-base": (
        PointBERTConfig,
        hub("encoder.", token=256) | affine("head.lins.0", 256, 2 * DIM) | affine("head.lins.1", 40, 256),
    ),
    "recon/pretrain": (ReConConfig, recon()),
    "act/pretrain": (ACTConfig, act()),
    "maskpoint/pretrain": (MaskPointConfig, two_copies(maskpoint_heads)),
}
NAMED = (PointMAEConfig, PointBERTConfig, ReConConfig, ACTConfig, MaskPointConfig, OcCoConfig)


def fill(shapes: Shapes) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randn(shape, generator=generator) if shape else torch.zeros((), dtype=torch.int64)
        for name, shape in shapes.items()
    }


def write(layout: str, folder: Path, changes: dict[str, torch.Tensor] | None = None) -> Path:
    """Write a stand-in file as it is published: a safetensors file, or a .pth with `base_model`."""
    tensors = fill(FILES[layout][1]) | (changes or {})
    if layout.startswith("hub/"):
        save_file(tensors, folder / "model.safetensors")
        return folder / "model.safetensors"
    torch.save({"base_model": {f"module.{n}": t for n, t in tensors.items()}, "epoch": 300}, folder / "ckpt.pth")
    return folder / "ckpt.pth"


@pytest.mark.parametrize("layout", FILES)
def test_a_published_file_fills_the_backbone(layout: str, tmp_path: Path) -> None:
    backbone, shapes = FILES[layout]
    loaded = load_backbone(backbone(weights=str(write(layout, tmp_path)), **TINY))
    has_class_token = any(name.endswith("cls_token") for name in shapes)
    assert loaded.initialised == (set() if has_class_token else CLASS_TOKEN)
    given = fill(shapes)
    prefix = {"pointbert/pretrain-momentum": "transformer_k.", "pointbert/pretrain": "transformer_q."}.get(layout, "")
    wanted = [n for n in shapes if n.endswith("blocks.1.attn.qkv.weight") and n.startswith(prefix)]
    wanted = [n for n in wanted if "decoder" not in n]
    assert torch.equal(loaded.trunk.get_parameter("blocks.1.attn.qkv.weight"), given[wanted[0]])
    assert recognise(shapes) == layout


@pytest.mark.parametrize("layout", FILES)
def test_a_tensor_nobody_expected_is_refused_by_name(layout: str, tmp_path: Path) -> None:
    path = write(layout, tmp_path, {"stranger.weight": torch.zeros(2)})
    with pytest.raises(UserError, match=r"1 unknown \(stranger\.weight\)"):
        load_backbone(FILES[layout][0](weights=str(path), **TINY))


@pytest.mark.parametrize("layout", FILES)
@pytest.mark.parametrize("other", NAMED, ids=lambda other: other.model_fields["kind"].default)
def test_a_file_of_another_backbone_is_refused(
    layout: str, other: type[PointTransformerConfig], tmp_path: Path
) -> None:
    config = other(weights=str(write(layout, tmp_path)), **TINY)
    source = source_of(config)
    if layout in (source.layout, *source.layouts):
        load_backbone(config)
        return
    with pytest.raises(UserError, match="is not a file of"):
        load_backbone(config)


def test_own_takes_any_file_of_its_sizes_and_refuses_other_sizes(tmp_path: Path) -> None:
    path = write("recon/pretrain", tmp_path)
    assert not load_backbone(OwnBackboneConfig(weights=str(path), **TINY)).initialised
    with pytest.raises(UserError, match="misshapen"):
        load_backbone(OwnBackboneConfig(weights=str(path), **TINY | {"dim": 48}))


def test_an_occluded_completion_transformer_loads_by_its_plain_names(tmp_path: Path) -> None:
    torch.save(fill(authors(token=256)), tmp_path / "occo.pth")
    assert not load_backbone(OcCoConfig(weights=str(tmp_path / "occo.pth"), **TINY)).initialised
    with pytest.raises(UserError, match="no weights of its own"):
        load_backbone(OcCoConfig())


@pytest.mark.parametrize("config", [ReConConfig(), ACTConfig()], ids=["recon", "act"])
def test_a_file_that_needs_a_browser_is_named_with_its_address(
    config: PointTransformerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"drive\.google\.com"):
        load_backbone(config)


@pytest.mark.parametrize("kind", ["point-bert", "recon", "act", "maskpoint", "occo"])
def test_the_published_counts_hold_on_every_backbone_of_this_transformer(kind: str) -> None:
    backbone = {"kind": kind, "weights": "random"}
    wide = 22_093_327 + (33_024 if kind in ("point-bert", "maskpoint", "occo") else 0)
    for method, count in (("dapt", 1_087_771), ("dapt-x", 418_067), ("adaptformer", 862_735), ("full", wide)):
        assert measure(parse_config({"backbone": backbone, "method": {"kind": method}}), 15).trainable == count, method


def test_point_berts_own_model_has_the_published_size() -> None:
    run = {"backbone": {"kind": "point-bert"}, "method": {"kind": "full"}, "head": {"kind": "mlp2"}}
    assert measure(parse_config(run), 40).total == 22_065_960


def test_every_named_source_has_a_layout_and_says_what_is_not_known() -> None:
    for backbone in NAMED:
        source = source_of(backbone())
        assert set((source.layout, *source.layouts)) <= set(LAYOUTS)
        assert source.repository or source.caveat
        assert bool(source.repository) == bool(source.revision)
