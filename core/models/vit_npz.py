"""Google's own files of vision transformers (`.npz`), read under timm's names.

Their kernels stand input first, are cut into heads, and keep queries, keys and values apart. Published with ViT
(google-research/vision_transformer); D width, H heads, P patch size.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

_ENDS = {
    "cls": "cls_token",
    "embedding/bias": "patch_embed.proj.bias",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "Transformer/encoder_norm/scale": "norm.weight",
    "Transformer/encoder_norm/bias": "norm.bias",
    "head/bias": "head.bias",
    "pre_logits/bias": "pre_logits.fc.bias",
}
_TURNED = {"head/kernel": "head.weight", "pre_logits/kernel": "pre_logits.fc.weight"}
_BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/(.+)")
_INNER = {
    "LayerNorm_0/scale": "norm1.weight",
    "LayerNorm_0/bias": "norm1.bias",
    "LayerNorm_2/scale": "norm2.weight",
    "LayerNorm_2/bias": "norm2.bias",
    "MlpBlock_3/Dense_0/bias": "mlp.fc1.bias",
    "MlpBlock_3/Dense_1/bias": "mlp.fc2.bias",
    "MultiHeadDotProductAttention_1/out/bias": "attn.proj.bias",
}
_INNER_TURNED = {"MlpBlock_3/Dense_0/kernel": "mlp.fc1.weight", "MlpBlock_3/Dense_1/kernel": "mlp.fc2.weight"}
_ATTENTION = "MultiHeadDotProductAttention_1"
_PARTS = ("query", "key", "value")


def read_npz(path: Path) -> dict[str, Tensor]:
    """Return {timm's name: tensor} of a file in Google's layout; nothing in it can run.

    UserError when the file is damaged, holds objects, or has names or axes that this layout does not.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, AttributeError) as error:
        raise UserError(
            f"{path.name} cannot be read as weights ({str(error).splitlines()[0][:200] or type(error).__name__})",
            expected="an .npz file that holds arrays only",
        ) from error
    try:
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in _rename(arrays).items()}
    except (ValueError, TypeError) as error:
        raise UserError(f"{path.name} holds arrays of unexpected shape ({error})", expected=_EXPECTED) from error


_EXPECTED = "Google's file of a vision transformer, such as ViT-B_16.npz"


def _rename(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays by timm's name; a name that the layout does not know is kept, so that the error can name it."""
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        block = _BLOCK.fullmatch(name)
        if name in _ENDS:
            found[_ENDS[name]] = array
        elif name in _TURNED:
            found[_TURNED[name]] = array.T
        elif name == "embedding/kernel":  # (P, P, 3, D)
            found["patch_embed.proj.weight"] = array.transpose(3, 2, 0, 1)
        elif block and block[2] in _INNER:
            found[f"blocks.{block[1]}.{_INNER[block[2]]}"] = array
        elif block and block[2] in _INNER_TURNED:
            found[f"blocks.{block[1]}.{_INNER_TURNED[block[2]]}"] = array.T
        elif block and block[2] == f"{_ATTENTION}/out/kernel":  # (H, D/H, D)
            found[f"blocks.{block[1]}.attn.proj.weight"] = array.reshape(-1, array.shape[-1]).T
        elif not (block and _is_part(block[2])):
            found[name] = array
    return found | _fused(arrays)


def _is_part(name: str) -> bool:
    return any(name in (f"{_ATTENTION}/{part}/kernel", f"{_ATTENTION}/{part}/bias") for part in _PARTS)


def _fused(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return each block's queries, keys and values as one layer: kernels (D, H, D/H) and biases (H, D/H) of each.

    A block that lacks one of them gets none, and is reported by its missing name.
    """
    found: dict[str, np.ndarray] = {}
    for number in sorted({match[1] for name in arrays if (match := _BLOCK.fullmatch(name))}):
        stem = f"Transformer/encoderblock_{number}/{_ATTENTION}"
        for leaf, ours in (("kernel", "weight"), ("bias", "bias")):
            parts = [arrays.get(f"{stem}/{part}/{leaf}") for part in _PARTS]
            whole = [part for part in parts if part is not None]
            if len(whole) == len(_PARTS):
                found[f"blocks.{number}.attn.qkv.{ours}"] = np.concatenate([_output_first(part) for part in whole])
    return found


def _output_first(part: np.ndarray) -> np.ndarray:
    """Return a kernel (D, H, D/H) as (D, D), output first, or a bias (H, D/H) as (D,)."""
    if part.ndim == 2:
        return part.ravel()
    return np.moveaxis(part, 0, -1).reshape(-1, part.shape[0])
