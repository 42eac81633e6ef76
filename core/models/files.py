"""Reading weight files safely: tensors only, whatever the file claims to be."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from ..errors import UserError
from ..schema import is_mapping
from .vit_npz import read_npz

_WRAPPERS = ("base_model", "model", "model_state_dict", "state_dict")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return {name: tensor} of a `.safetensors` file, a published `.pth` dictionary or Google's `.npz`, on the CPU.

    A `.pth` is opened with torch's tensors-only unpickler, so nothing in it can run. Prefixes `module.` are taken off.
    UserError names the file and what is wrong with it.
    """
    if not path.is_file():
        raise UserError(f"No weight file at {path}", remedy="Check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            return read_npz(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path.name} cannot be read as weights ({reason})",
            expected="a .safetensors file, or a .pth file that holds tensors only",
        ) from error
    return _unwrap(content, path)


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if is_mapping(content) and is_mapping(content.get(key)):
            content = content[key]
    if not is_mapping(content):
        raise UserError(f"{path.name} holds no dictionary of weights", got=type(content).__name__)
    tensors = {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise UserError(f"{path.name} holds no tensors", got=sorted(map(str, content))[:5])
    return tensors


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors: names, types, shapes and bytes, independent of the file around them."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
