"""Multiply-adds of a configuration, by PyTorch's own counter: as we compute it, and as the publications write it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .building import assemble
from .config import RunConfig
from .models.patch_embed import PatchEmbed
from .models.trunk import Trunk
from .peft.idpt import EdgeConv
from .peft.mixture import Router, SharedMixture


@dataclass(frozen=True)
class Flops:
    """Multiply-adds of one forward pass of one input, linear layers and convolutions alone (as the papers count).

    `published` is the arithmetic as written in the papers; `computed` is ours, where products that are the same for
    many points are made once. `attention` are the products inside attention, which the papers' counter leaves out.
    """

    published: int
    computed: int
    attention: int


def count_flops(config: RunConfig, classes: int, points: int = 2048, trunk: Trunk | None = None) -> Flops:
    """Count one forward pass in evaluation mode, of one cloud of `points` points or one image, on the CPU.

    The counts do not depend on the weights: they are random, or those of `trunk`, which is given back as it was.
    """
    trunk = trunk or config.backbone.build(config.method.positions)
    model = assemble(config, classes, trunk).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(config.backbone.example_size(points), generator=generator)
    computed = _count(model, example, attention=False)
    whole = _count(model, example, attention=True)
    _write_out(model, True)
    published = _count(model, example, attention=False)
    _write_out(model, False)
    model.release()
    return Flops(published, computed, whole - computed)


def _write_out(model: nn.Module, yes: bool) -> None:
    for module in model.modules():
        if isinstance(module, (PatchEmbed, EdgeConv, Router, SharedMixture)):
            module.written_out = yes


@torch.no_grad()
def _count(model: nn.Module, example: Tensor, *, attention: bool) -> int:
    """Return the multiply-adds of one pass. The counter sees into attention only where it is plain products."""
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH) if attention else nullcontext(), counter:
        model(example)
    found: dict[Any, int] = counter.get_flop_counts()["Global"]
    fused = sum(number for operation, number in found.items() if "scaled_dot_product" in str(operation))
    return (sum(found.values()) - fused) // 2
