"""Published key layouts: how the names in somebody's weight file become ours.

A layout is a list of rules (pattern, replacement), tried in order on each name. A name that no rule covers is unknown;
a rule with replacement None drops what belongs to pre-training only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..errors import UserError
from . import layouts_m2ae as m2ae

Rule = tuple[str, str | None]

_BLOCK = r"blocks\.(?:blocks\.)?(\d+)\."


def _trunk(prefix: str = "") -> tuple[Rule, ...]:
    """The transformer as the authors' repositories name it, below `prefix`."""
    return (
        (prefix + r"encoder\.first_conv\.(\d)\.(.+)", r"trunk.patch_embed.local.\1.\2"),
        (prefix + r"encoder\.second_conv\.(\d)\.(.+)", r"trunk.patch_embed.merged.\1.\2"),
        (prefix + r"reduce_dim\.(.+)", r"trunk.patch_embed.reduce_dim.\1"),
        (prefix + r"(pos_embed\.\d\..+)", r"trunk.\1"),
        (prefix + r"(cls_token|cls_pos)", r"trunk.\1"),
        (prefix + _BLOCK + r"(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(weight|bias)", r"trunk.blocks.\1.\2.\3"),
        (prefix + r"norm\.(.+)", r"trunk.norm.\1"),
    )


def _hub_trunk(prefix: str = "") -> tuple[Rule, ...]:
    """The same transformer as the Hub's `torch-pointcloud` files name it."""
    stages = (("local_mlp", "local"), ("global_mlp", "merged"))
    rules: list[Rule] = []
    for theirs, ours in stages:
        stem = prefix + rf"encoder\.{theirs}\."
        rules += [
            (stem + r"lins\.0\.(.+)", rf"trunk.patch_embed.{ours}.0.\1"),
            (stem + r"norms\.0\.module\.(.+)", rf"trunk.patch_embed.{ours}.1.\1"),
            (stem + r"lins\.1\.(.+)", rf"trunk.patch_embed.{ours}.3.\1"),
        ]
    return (
        *rules,
        (prefix + r"reduce_dim\.(.+)", r"trunk.patch_embed.reduce_dim.\1"),
        (prefix + r"pos_embed\.lins\.0\.(.+)", r"trunk.pos_embed.0.\1"),
        (prefix + r"pos_embed\.lins\.1\.(.+)", r"trunk.pos_embed.2.\1"),
        (prefix + r"(cls_token|cls_pos)", r"trunk.\1"),
        (prefix + _BLOCK + r"(norm[12]|attn\.qkv|attn\.proj)\.(weight|bias)", r"trunk.blocks.\1.\2.\3"),
        (prefix + _BLOCK + r"mlp\.lins\.0\.(.+)", r"trunk.blocks.\1.mlp.fc1.\2"),
        (prefix + _BLOCK + r"mlp\.lins\.1\.(.+)", r"trunk.blocks.\1.mlp.fc2.\2"),
        (prefix + r"norm(?:_f)?\.(.+)", r"trunk.norm.\1"),
    )


_HEAD: tuple[Rule, ...] = ((r"cls_head_finetune\.(\d)\.(.+)", r"head.layers.\1.\2"),)
_HUB_HEAD: tuple[Rule, ...] = (
    (r"head\.lins\.0\.(.+)", r"head.layers.0.\1"),
    (r"head\.norms\.0\.module\.(.+)", r"head.layers.1.\1"),
    (r"head\.lins\.1\.(.+)", r"head.layers.4.\1"),
    (r"head\.norms\.1\.module\.(.+)", r"head.layers.5.\1"),
    (r"head\.lins\.2\.(.+)", r"head.layers.8.\1"),
)


_PART_HEAD: tuple[Rule, ...] = (
    (r"label_conv\.([01])\.(.+)", r"head.label.\1.\2"),
    (r"propagation_0\.mlp_convs\.0\.(.+)", r"head.near.0.\1"),
    (r"propagation_0\.mlp_bns\.0\.(.+)", r"head.near.1.\1"),
    (r"propagation_0\.mlp_convs\.1\.(.+)", r"head.near.3.\1"),
    (r"propagation_0\.mlp_bns\.1\.(.+)", r"head.near.4.\1"),
    (r"convs1\.(.+)", r"head.layers.0.\1"),
    (r"bns1\.(.+)", r"head.layers.1.\1"),
    (r"convs2\.(.+)", r"head.layers.4.\1"),
    (r"bns2\.(.+)", r"head.layers.5.\1"),
    (r"convs3\.(.+)", r"head.layers.7.\1"),
)


def _tfts(theirs: str, ours: str) -> tuple[Rule, ...]:
    return tuple((theirs.replace("@", word), f"{ours}.{word}") for word in ("gamma", "beta"))


_DAPT: tuple[Rule, ...] = (
    *_tfts(r"tfts_@_1", r"method.embed"),
    *_tfts(r"tfts_@_2", r"method.final"),
    *_tfts(_BLOCK + r"tfts_@_1", r"method.blocks.\1.tfts.norm1"),
    *_tfts(_BLOCK + r"tfts_@_2", r"method.blocks.\1.tfts.norm2"),
    *_tfts(_BLOCK + r"tfts_@_3", r"method.blocks.\1.prompt"),
    *_tfts(_BLOCK + r"attn\.tfts_@_1", r"method.blocks.\1.tfts.qkv"),
    *_tfts(_BLOCK + r"attn\.tfts_@_2", r"method.blocks.\1.tfts.proj"),
    *_tfts(_BLOCK + r"mlp\.tfts_@_1", r"method.blocks.\1.tfts.fc1"),
    *_tfts(_BLOCK + r"mlp\.tfts_@_2", r"method.blocks.\1.tfts.fc2"),
    (_BLOCK + r"Adapter_MLP\.adapter_layer_norm_before\.(.+)", r"method.blocks.\1.adapter.norm.\2"),
    (_BLOCK + r"Adapter_MLP\.scale\.(.+)", r"method.blocks.\1.adapter.scale.\2"),
    (_BLOCK + r"Adapter_MLP\.(down|up)_proj\.(.+)", r"method.blocks.\1.adapter.\2.\3"),
)

_IDPT: tuple[Rule, ...] = (
    (r"prompt_pos", r"method.position"),
    (r"blocks\.cls\.conv1\.0\.weight", r"method.generator.edges.0.weight.weight"),
    (r"blocks\.cls\.conv2\.0\.weight", r"method.generator.edges.1.weight.weight"),
    (r"blocks\.cls\.conv3\.0\.weight", r"method.generator.edges.2.weight.weight"),
    (r"blocks\.cls\.conv5\.0\.weight", r"method.generator.mix.weight"),
    # The file holds each norm twice, as `bn1` and inside `conv1`; the published loader lets the latter win.
    (r"blocks\.cls\.conv1\.1\.(.+)", r"method.generator.edges.0.norm.\1"),
    (r"blocks\.cls\.conv2\.1\.(.+)", r"method.generator.edges.1.norm.\1"),
    (r"blocks\.cls\.conv3\.1\.(.+)", r"method.generator.edges.2.norm.\1"),
    (r"blocks\.cls\.conv5\.1\.(.+)", r"method.generator.norm.\1"),
    (r"blocks\.cls\.bn\d\..+", None),
)

_IDPT_VPT: tuple[Rule, ...] = (
    (r"cls_prompt_list\.(\d+)", r"method.rows.\1.prompts"),
    (r"cls_prompt_pos_list\.(\d+)", r"method.rows.\1.positions"),
)

_PRETRAINING: tuple[Rule, ...] = ((r"(MAE_decoder|decoder_pos_embed|increase_dim)\..+|mask_token", None),)

# ReCon: the tokens of image and text, each block's contrast branch, the frozen teachers and the projections to them.
_RECON: tuple[Rule, ...] = (
    (r"MAE_encoder\.(img|text)_(token|pos)", None),
    (r"MAE_encoder\." + _BLOCK + r"(norm1|norm2|mlp|attn)_contrast\..+", None),
    (r"(img_encoder|text_encoder|img_proj|text_proj|cls_proj)\..+", None),
    *_PRETRAINING,
)

_ACT: tuple[Rule, ...] = (
    (r"ACT_encoder\.(lm_head|cls_head)\..+", None),
    (r"(ACT_decoder|decoder_pos_embed|dvae_tokenizer|proj_head)\..+|mask_token|cls_pos", None),
)


def _contrast(branch: str, other: str, heads: str) -> tuple[Rule, ...]:
    """One of the two copies that contrast by momentum; the other one, the queue and the tokenizer are dropped."""
    return (
        *_trunk(branch + r"\."),
        (rf"{branch}\.({heads})\..+|{branch}\.mask_token", None),
        (rf"({other}|dvae)\..+|queue|queue_ptr", None),
    )


_BERT_HEADS, _MASKPOINT_HEADS = "lm_head|cls_head", "decoder|cls_head|bin_cls_head"
_VIT: tuple[Rule, ...] = (
    (r"cls_token|pos_embed|(?:patch_embed\.proj|norm)\.(?:weight|bias)", r"trunk.\g<0>"),
    (r"blocks\.\d+\.(?:norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(?:weight|bias)", r"trunk.\g<0>"),
    (r"(head|pre_logits)\..+", None),
)
_HUB_BERT_PRETRAINING: tuple[Rule, ...] = ((r"(lm_head|cls_head)\..+|mask_token", None),)
_HUB_BERT_HEAD: tuple[Rule, ...] = (
    (r"head\.lins\.0\.(.+)", r"head.layers.0.\1"),
    (r"head\.lins\.1\.(.+)", r"head.layers.3.\1"),
)


@dataclass(frozen=True)
class Layout:
    """The rules of one published file; `lacks` are our names that the file is known not to have."""

    rules: tuple[Rule, ...]
    lacks: tuple[str, ...] = ()

    def translate(self, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Return (our names with tensors, names that no rule knows). 1x1 convolutions become linear weights."""
        known: dict[str, Tensor] = {}
        unknown: list[str] = []
        for name, tensor in tensors.items():
            for pattern, replacement in self.rules:
                match = re.fullmatch(pattern, name)
                if match:
                    if replacement is not None:
                        known[match.expand(replacement)] = _linear(name, tensor)
                    break
            else:
                unknown.append(name)
        return known, unknown


def _linear(name: str, tensor: Tensor) -> Tensor:
    """Return a 1x1 convolution's weight (out, in, 1[, 1]) as (out, in); anything else as it is."""
    is_convolution = name.endswith("weight") and tensor.dim() > 2 and tensor.shape[2:].numel() == 1
    return tensor.flatten(1) if is_convolution else tensor


_CLASS_TOKEN = ("trunk.cls_token", "trunk.cls_pos")

LAYOUTS: dict[str, Layout] = {
    "pointsmith": Layout(((r"(.+)", r"trunk.\1"),), lacks=_CLASS_TOKEN),
    "pointmae": Layout((*_trunk(), *_HEAD)),
    "pointmae-seg": Layout((*_trunk(), *_PART_HEAD)),
    "act": Layout((*_trunk(), *_HEAD)),
    "dapt": Layout((*_DAPT, *_trunk(), *_HEAD)),
    "idpt": Layout((*_IDPT, *_trunk(), *_HEAD)),
    "idpt-vpt": Layout((*_IDPT_VPT, *_trunk(), *_HEAD)),
    "pointmae/pretrain": Layout((*_trunk(r"MAE_encoder\."), *_PRETRAINING), lacks=_CLASS_TOKEN),
    "hub/point-mae-base.pretrain.yatian-pang": Layout(
        (*_hub_trunk(r"MAE_encoder\."), *_PRETRAINING), lacks=_CLASS_TOKEN
    ),
    "hub/point-mae-base": Layout((*_hub_trunk(), *_HUB_HEAD)),
    "pointbert": Layout((*_trunk(), *_HEAD)),
    "pointbert/pretrain": Layout(_contrast("transformer_q", "transformer_k", _BERT_HEADS)),
    "pointbert/pretrain-momentum": Layout(_contrast("transformer_k", "transformer_q", _BERT_HEADS)),
    "hub/point-bert-base.pretrain.xumin-yu": Layout((*_hub_trunk(), *_HUB_BERT_PRETRAINING)),
    "hub/point-bert-base": Layout((*_hub_trunk(r"encoder\."), *_HUB_BERT_HEAD)),
    "recon/pretrain": Layout((*_trunk(r"MAE_encoder\."), *_RECON)),
    "act/pretrain": Layout((*_trunk(r"ACT_encoder\."), *_ACT)),
    "maskpoint/pretrain": Layout(_contrast("transformer_q", "transformer_k", _MASKPOINT_HEADS)),
    "timm/vit": Layout(_VIT),
    "hub/point-m2ae-base.pretrain.renrui-zhang": Layout((*m2ae.ENCODER, *m2ae.PRETRAINING), lacks=m2ae.NOT_PRETRAINED),
    "hub/point-m2ae-base": Layout((*m2ae.ENCODER, *_HUB_HEAD)),
}

# What tells the layouts of whole backbones apart: the first one whose every mark begins some name. A file that holds
# the trained and the momentum copy counts as the former, as the authors' own loader takes it.
_MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("hub/point-m2ae-base.pretrain.renrui-zhang", ("h_encoder.token_embed.0.local_mlp.", "h_decoder.")),
    ("hub/point-m2ae-base", ("h_encoder.token_embed.0.local_mlp.",)),
    ("hub/point-mae-base.pretrain.yatian-pang", ("MAE_encoder.encoder.local_mlp.",)),
    ("recon/pretrain", ("MAE_encoder.encoder.first_conv.", "MAE_encoder.img_token")),
    ("pointmae/pretrain", ("MAE_encoder.encoder.first_conv.",)),
    ("act/pretrain", ("ACT_encoder.encoder.first_conv.",)),
    ("maskpoint/pretrain", ("transformer_q.encoder.first_conv.", "transformer_q.bin_cls_head.")),
    ("pointbert/pretrain", ("transformer_q.encoder.first_conv.", "transformer_q.lm_head.")),
    ("pointbert/pretrain-momentum", ("transformer_k.encoder.first_conv.", "transformer_k.lm_head.")),
    ("pointsmith", ("patch_embed.local.",)),
    ("timm/vit", ("patch_embed.proj.", "pos_embed", "cls_token")),
    ("hub/point-bert-base", ("encoder.encoder.local_mlp.",)),
    ("hub/point-bert-base.pretrain.xumin-yu", ("encoder.local_mlp.", "lm_head.")),
    ("hub/point-mae-base", ("encoder.local_mlp.",)),
    ("pointbert", ("encoder.first_conv.", "reduce_dim.")),
    ("pointmae", ("encoder.first_conv.",)),
)


def recognise(names: Iterable[str]) -> str | None:
    """Return which layout of a file with a whole backbone fits its names, or None."""
    names = list(names)
    for layout, marks in _MARKS:
        if all(any(name.startswith(mark) for name in names) for mark in marks):
            return layout
    return None


def check_names(
    wanted: dict[str, Tensor], given: dict[str, Tensor], unknown: list[str], subject: str, lacks: tuple[str, ...] = ()
) -> None:
    """Refuse weights whose names or shapes differ from `wanted`; the error lists missing, unknown, misshapen."""
    missing = sorted(set(wanted) - set(given) - set(lacks))
    extra = sorted(unknown) + sorted(set(given) - set(wanted))
    misshapen = [
        f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in sorted(set(wanted) & set(given))
        if given[name].shape != wanted[name].shape
    ]
    if not (missing or extra or misshapen):
        return
    parts = [
        f"{len(found)} {word} ({', '.join(found[:3])}{', …' if len(found) > 3 else ''})"
        for word, found in (("missing", missing), ("unknown", extra), ("misshapen", misshapen))
        if found
    ]
    raise UserError(
        f"{subject} does not fit: {'; '.join(parts)}",
        expected=f"exactly the {len(wanted)} tensors of this model",
        remedy="Choose the layout and the sizes that the file was made with",
    )
