"""Watching what a method decides per token: an Adapter-X router's gates, DAPT's scales; free when nobody looks."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..models.tuned import attach, detach
from .adapter_x import AdapterX
from .dapt import DAPT, DAPTBlock
from .method import Method


@dataclass
class Routes:
    """What the routers decided in the passes since watching began, in the order of the blocks.

    `gates[i]` are block i's gates (B, L, h, N), float32 on the CPU: B inputs, L tokens (class token first, prompts of
    earlier blocks next, patches last), h sub-tokens each, N experts.
    """

    gates: list[Tensor] = field(default_factory=list[Tensor])

    def load(self) -> Tensor:
        """Return the share of sub-tokens whose first choice is each expert, (blocks, N)."""
        return torch.stack(
            [torch.bincount(g.argmax(-1).flatten(), minlength=g.shape[-1]) / g[..., 0].numel() for g in self.gates]
        )

    def entropy(self) -> Tensor:
        """Return the mean entropy of the gates in nats, (blocks,): 0 is certain, log N undecided."""
        return torch.stack([torch.special.entr(g).sum(-1).mean() for g in self.gates])


class Watch:
    """A delta on a router that notes its gates and changes nothing."""

    def __init__(self, routes: Routes, batch: int, heads: int) -> None:
        self.routes, self.batch, self.heads = routes, batch, heads

    def __call__(self, x: Tensor, gates: Tensor) -> Tensor:
        noted = gates.detach().float().cpu()
        self.routes.gates.append(noted.view(self.batch, -1, self.heads, gates.shape[-1]))
        return gates


@contextmanager
def watching(method: Method, batch: int) -> Generator[Routes | None]:
    """Note the routing of passes over `batch` inputs made inside; None where the method routes nothing."""
    if not isinstance(method, AdapterX):
        yield None
        return
    routes = Routes()
    for mixture in method.mixtures:
        attach(mixture.router, Watch(routes, batch, method.config.heads))  # type: ignore[arg-type]
    try:
        yield routes
    finally:
        for mixture in method.mixtures:
            detach(mixture.router)  # type: ignore[arg-type]


class WatchScale:
    """A forward hook on the layer of a Dynamic Adapter that makes its scales; notes them and changes nothing."""

    def __init__(self, scales: list[Tensor]) -> None:
        self.scales = scales

    def __call__(self, module: nn.Module, x: Any, y: Tensor) -> None:
        self.scales.append(torch.relu(y.detach().float()).squeeze(-1).cpu())


@contextmanager
def watching_scales(method: Method) -> Generator[list[Tensor] | None]:
    """Note DAPT's scales of passes made inside: a tensor (B, L) for each block, float32 on the CPU, tokens as `Routes`.

    None where the method is not DAPT.
    """
    if not isinstance(method, DAPT):
        yield None
        return
    scales: list[Tensor] = []
    rows = [block for block in method.blocks if isinstance(block, DAPTBlock)]
    hooks = [row.adapter.scale.register_forward_hook(WatchScale(scales)) for row in rows]
    try:
        yield scales
    finally:
        for hook in hooks:
            hook.remove()
