"""Point-M2AE: its published layout and sizes, its local attention, and which methods it takes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pointsmith.core.adapters import describe, save_adapter
from pointsmith.core.building import build, measure
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.errors import UserError
from pointsmith.core.importing import import_checkpoint, importable
from pointsmith.core.merging import merge
from pointsmith.core.models.layouts import LAYOUTS, recognise
from pointsmith.core.models.load import load_backbone
from pointsmith.core.models.point_m2ae import PointM2AEConfig, within
from pointsmith.core.models.transformer import Attention
from pointsmith.core.models.tuned import attach
from pointsmith.core.peft.prefix import PrefixRow
from safetensors.torch import save_file

from tests.support.paths import GOLDEN
from tests.support.standin import stand_in_weights
from tests.support.tiny import tiny_run

PRETRAINED = "hub-point-m2ae-base.pretrain.renrui-zhang"
TUNED = "hub-point-m2ae-base.scanobjectnn-hardest.renrui-zhang"
TINY: dict[str, Any] = {
    "kind": "point-m2ae",
    "weights": "random",
    "groups": [16, 8, 4],
    "group_sizes": [8, 4, 4],
    "radii": [0.5, 1.0, 2.0],
    "dims": [12, 18, 24],
    "depths": [2, 1, 1],
    "heads": 2,
    "widths": [8, 16, 16],
    "drop_path": 0.0,
}
X: dict[str, Any] = {"prompts": "none", "rank": 4}
TAKEN: dict[str, dict[str, Any]] = {
    "adaptformer": {"kind": "adaptformer", "rank": 4},
    "adapter": {"kind": "adapter", "rank": 4, "places": "both"},
    "lora": {"kind": "lora", "rank": 4, "targets": ["qv", "proj", "fc1", "fc2"]},
    "ssf": {"kind": "ssf", "ends": True},
    "prefix": {"kind": "prefix", "length": 5},
    "bitfit": {"kind": "bitfit", "where": "all"},
    "norm-tuning": {"kind": "norm-tuning"},
    "probe": {"kind": "probe"},
    "full": {"kind": "full"},
    "adapter-x": {"kind": "adapter-x", **X},
    "adaptformer-x": {"kind": "adaptformer-x", **X},
    "dapt-x": {"kind": "dapt-x", **X},
    "adapter-x, all rows": {"kind": "adapter-x", **X, "tfts": True, "shared": False, "routing": "dense"},
}


def run_of(method: dict[str, Any], **changes: Any) -> RunConfig:
    return tiny_run(method, **{"backbone": TINY, **changes})


def clouds(count: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 64, 3, generator=torch.Generator().manual_seed(seed))


def model_of(method: dict[str, Any], **changes: Any) -> torch.nn.Module:
    model = build(run_of(method, **changes), 5).model
    torch.manual_seed(1)
    with torch.no_grad():  # what starts at zero would hide mistakes
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
            if name.endswith("scale.bias"):
                parameter.fill_(1.0)
    return model


def shapes_of(name: str) -> dict[str, list[int]]:
    return json.loads((GOLDEN / f"{name}.json").read_text())["shapes"]


def weights_of(name: str) -> dict[str, torch.Tensor]:
    return stand_in_weights(shapes_of(name), 3)


def parameters(shapes: dict[str, list[int]]) -> int:
    """Return how many parameters a file holds, without the batch norms' statistics."""
    moving = ("running_mean", "running_var", "num_batches_tracked")
    return sum(torch.Size(shape).numel() for name, shape in shapes.items() if not name.endswith(moving))


def test_the_published_models_size_is_that_of_its_file() -> None:
    published = importable()["hub/point-m2ae-base.scanobjectnn-hardest.renrui-zhang"].run()
    total = measure(published, 15).total
    assert total == parameters(shapes_of(TUNED)) == 12_921_935
    with torch.device("meta"):
        trunk = PointM2AEConfig().build("every-block")
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 12_654_400


def test_the_pretraining_file_fills_all_but_the_final_norm(tmp_path: Path) -> None:
    weights = weights_of(PRETRAINED)
    save_file(weights, tmp_path / "model.safetensors")
    loaded = load_backbone(PointM2AEConfig(weights=str(tmp_path / "model.safetensors")))
    assert loaded.initialised == {"norm.weight", "norm.bias"}
    for theirs, ours in (
        ("h_encoder.encoder_blocks.1.blocks.3.mlp.lins.1.weight", "stages.1.blocks.3.mlp.fc2.weight"),
        ("h_encoder.token_embed.2.global_mlp.lins.0.weight", "stages.2.patch_embed.merged.0.weight"),
        ("h_encoder.encoder_pos_embeds.0.lins.1.bias", "stages.0.pos_embed.2.bias"),
    ):
        assert torch.equal(loaded.trunk.get_parameter(ours), weights[theirs])
    running = loaded.trunk.get_buffer("stages.1.patch_embed.local.1.running_var")
    assert torch.equal(running, weights["h_encoder.token_embed.1.local_mlp.norms.0.module.running_var"])
    assert recognise(weights) == "hub/point-m2ae-base.pretrain.renrui-zhang"


def test_what_pretraining_leaves_behind_is_named_and_nothing_else(tmp_path: Path) -> None:
    layout = LAYOUTS["hub/point-m2ae-base.pretrain.renrui-zhang"]
    weights = weights_of(PRETRAINED)
    known, unknown = layout.translate(weights)
    assert not unknown
    assert all(name.startswith("trunk.stages.") for name in known)
    kept = sum(name.startswith(("h_encoder.token", "h_encoder.encoder_p", "h_encoder.encoder_b")) for name in weights)
    assert len(known) == kept
    weights["h_encoder.stranger.0.weight"] = torch.zeros(2)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"1 unknown \(h_encoder\.stranger\.0\.weight\)"):
        load_backbone(PointM2AEConfig(weights=str(tmp_path / "model.safetensors")))


def test_a_finetuned_file_is_a_backbone_too_and_imports_only_whole(tmp_path: Path) -> None:
    weights = weights_of(TUNED)
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    assert not load_backbone(PointM2AEConfig(weights=str(path))).initialised
    del weights["norm.bias"]
    save_file(weights, path)
    with pytest.raises(UserError, match=r"1 missing \(trunk\.norm\.bias\)"):
        import_checkpoint(path, "hub/point-m2ae-base.scanobjectnn-hardest.renrui-zhang", tmp_path / "adapter")


def test_the_final_norm_travels_with_an_adapter_on_the_pretrained_backbone() -> None:
    config = parse_config({"backbone": {"kind": "point-m2ae"}, "method": {"kind": "adaptformer"}})
    random = parse_config({"backbone": {"kind": "point-m2ae", "weights": "random"}, "method": {"kind": "adaptformer"}})
    one, other = measure(config, 15), measure(random, 15)
    assert (one.trainable, one.total) == (other.trainable, other.total)
    assert one.adapter_bytes - other.adapter_bytes == 2 * 384 * 4


@pytest.mark.parametrize("method", TAKEN)
def test_every_trainable_parameter_gets_a_gradient_and_nothing_else(method: str) -> None:
    model = model_of(TAKEN[method]).train()
    torch.nn.functional.cross_entropy(model(clouds()), torch.arange(6) % 5).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == parameter.requires_grad, name


@pytest.mark.parametrize("method", TAKEN)
def test_recomputed_blocks_see_their_own_clouds_mask(method: str) -> None:
    """The gradients of two passes made before the first backward: a mask kept anywhere but the call would be wrong."""
    found = []
    for recomputed in (False, True):
        model = model_of(TAKEN[method]).train()
        if recomputed:
            model.recompute()
        torch.manual_seed(3)
        losses = [torch.nn.functional.cross_entropy(model(clouds(seed=s)), torch.arange(6) % 5) for s in (0, 1)]
        torch.manual_seed(4)
        losses[0].backward()
        found.append({name: parameter.grad for name, parameter in model.trainable()})
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], rtol=1e-4, atol=1e-7), name


@pytest.mark.parametrize("method", TAKEN)
def test_measured_sizes_and_saved_adapters_are_those_of_the_model(method: str) -> None:
    assert measure(run_of(TAKEN[method]), 5) == build(run_of(TAKEN[method]), 5).sizes
    model = model_of(TAKEN[method]).eval()
    other = build(run_of(TAKEN[method]), 5).model.eval()
    other.load_adapter({name: tensor.clone() for name, tensor in model.adapter_state().items()})
    assert torch.equal(other(clouds()), model(clouds()))


@pytest.mark.parametrize("method", ["lora", "ssf", "bitfit"])
def test_what_can_be_folded_folds(method: str, tmp_path: Path) -> None:
    run = run_of(TAKEN[method])
    built = build(run, 5)
    built.model.eval()
    save_adapter(tmp_path / "adapter", built, describe(built, run, tuple("abcde")))
    merged = merge(tmp_path / "adapter", tmp_path / "merged")
    assert merged.remaining == 0 and merged.difference <= 1e-5


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "dapt"},
        {"kind": "vpt"},
        {"kind": "idpt"},
        {"kind": "adapter-x"},
        {"kind": "adaptformer-x", "prompts": "shared"},
        {"kind": "dapt-x"},
    ],
    ids=lambda method: method["kind"],
)
def test_methods_that_insert_prompts_are_refused_when_the_run_is_configured(method: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="has no place for them"):
        run_of(method)


def test_the_class_token_is_no_part_of_its_head() -> None:
    with pytest.raises(UserError, match="no class token"):
        run_of({"kind": "probe"}, head={"parts": ["cls"]})


def test_too_few_points_are_refused() -> None:
    config = PointM2AEConfig(**TINY)
    assert config.least_points == 16
    with pytest.raises(UserError, match="at least 16"):
        config.build("every-block")(clouds()[:, :15])
    with pytest.raises(UserError, match="too small for the backbone"):
        parse_config(
            {"backbone": {"kind": "point-m2ae"}, "data": {"preparation": {"points": 256}}, "method": {"kind": "probe"}}
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"groups": [16, 32, 4]}, "stage 1 cannot make 32 groups of 4 from 16 tokens"),
        ({"group_sizes": [8, 17, 4]}, "stage 1 cannot make 8 groups of 17 from 16 tokens"),
        ({"dims": [12, 18, 25]}, "multiple of heads 2, not 25"),
        ({"depths": [2, 0, 1]}, "each of depths must be at least 1"),
        ({"radii": [0.5, -1.0, 2.0]}, "radii must be finite and not negative"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        run_of({"kind": "probe"}, backbone={**TINY, **change})


def test_stages_nest_and_skip_the_origin_where_asked() -> None:
    points = clouds()
    points = points / points.norm(dim=-1, keepdim=True)
    points[:, 1] = 0.0  # further from a shell's points than they are from each other: chosen soon unless skipped
    for skip in (False, True):
        config = PointM2AEConfig(**{**TINY, "skip_origin": skip})
        trunk = config.build("every-block").eval()
        patches, levels = trunk.group(points)
        assert patches.shape == (6, 16, 8, 3)
        for below, above in pairwise(levels):
            # Farthest points of farthest points are the first of them.
            assert torch.equal(above.centres, below.centres[:, : above.centres.shape[1]])
        assert bool((levels[0].centres == 0).all(dim=-1).any()) != skip
        tokens, centres = trunk.places(points)
        assert tokens.shape == (6, 4, 24) and torch.equal(centres, levels[-1].centres)


def test_attention_reaches_no_further_than_its_radius() -> None:
    """One stage's radius so small that tokens see only themselves, against one that sees all."""
    torch.manual_seed(0)
    attention = Attention(12, 2, qkv_bias=False)
    x, centres = torch.randn(2, 10, 12), torch.randn(2, 10, 3)
    seen = within(centres, 1.2)
    assert seen is not None and int((~seen).sum()) > 0 and bool(seen.diagonal(dim1=2, dim2=3).all())
    q, k, v = attention.heads(attention.qkv(x))
    bias = torch.zeros(seen.shape).masked_fill(
        ~((centres[:, :, None] - centres[:, None]).norm(dim=-1) < 1.2)[:, None], -1e5
    )
    expected = ((q @ k.mT) / 6**0.5 + bias).softmax(dim=-1) @ v
    assert torch.allclose(attention(x, seen), attention.proj(expected.transpose(1, 2).flatten(2)), atol=1e-6)
    assert within(centres, 0.0) is None
    assert not torch.allclose(attention(x, seen), attention(x), atol=1e-3)


def test_a_prefix_is_seen_by_every_token_under_a_mask() -> None:
    torch.manual_seed(0)
    attention = Attention(12, 2, qkv_bias=False)
    row = PrefixRow(5, 12, 2)
    with torch.no_grad():
        row.keys.mul_(30)
        row.values.mul_(30)
    attach(attention.heads, row)
    x, seen = torch.randn(2, 7, 12), torch.eye(7, dtype=torch.bool).expand(2, 1, 7, 7)
    q, k, v = row(None, attention.heads(attention.qkv(x)))
    whole = torch.cat([torch.ones(2, 1, 7, 5, dtype=torch.bool), seen], dim=3)
    weights = (q @ k.mT / 6**0.5).masked_fill(~whole, float("-inf")).softmax(dim=-1)
    expected = attention.proj((weights @ v).transpose(1, 2).flatten(2))
    assert bool((weights[..., :5] > 0).all())
    assert torch.allclose(attention(x, seen), expected, atol=1e-6)


def test_far_clusters_do_not_touch_in_a_stage_of_local_attention() -> None:
    """Moving one of two distant clusters leaves the other's tokens alone, until global attention joins them."""
    near, far = clouds(1)[:, :32] * 0.1, clouds(1)[:, 32:] * 0.1
    moved = []
    for radius in (1.0, 0.0):
        # Groups so small that none spans both clusters: only attention could join them.
        config = PointM2AEConfig(**{**TINY, "radii": [radius] * 3, "groups": [16, 8, 4], "group_sizes": [4, 2, 1]})
        torch.manual_seed(0)
        trunk = config.build("every-block").eval()
        answers = []
        for scale in (1.0, 1.1):
            with torch.no_grad():
                tokens, centres = trunk.places(torch.cat([near, far * scale + 50], dim=1))
            mine = centres[0].norm(dim=-1) < 5
            answers.append(tokens[0][mine])
        assert len(answers[0]) == len(answers[1]) > 0
        moved.append(float((answers[0] - answers[1]).abs().max()))
    assert moved[0] < 1e-6 and moved[1] > 1e-4
