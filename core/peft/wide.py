"""All experts of a mixture as one product each way, with a backward pass that keeps only what came in.

Shapes: X sub-tokens of width W, N experts of rank R, H = N * R hidden units of all experts beside each other.

Written as in the papers, each expert's hidden units and answers are kept for the gradients, 2 N R + 2 N W numbers per
sub-token or more. Here `sum_e c_e (U_e h_e + v_e)` is `U (c h) + V c` with the experts' matrices joined; the hidden
units are made again in the backward pass, and only x, c and dropout's mask (a byte per hidden unit) are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bottleneck import Activation, Bottleneck, DynamicAdapter

_ROWS = 1024
"""Sub-tokens that are worked on at a time on a CPU, so that their hidden units stay in its cache."""


class Joined(NamedTuple):
    """The experts' weights beside each other: down (H, W), its bias (H,), up (W, H), its bias (N, W)."""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


@dataclass(frozen=True)
class Kind:
    """What the experts have in common: rank, activation, and the share of hidden units that dropout keeps."""

    rank: int
    activation: Activation
    keep: float = 1.0

    def act(self, hidden: Tensor) -> Tensor:
        return F.relu(hidden) if self.activation == "relu" else F.gelu(hidden)

    def act_backward(self, gradient: Tensor, hidden: Tensor) -> Tensor:
        if self.activation == "relu":
            return torch.ops.aten.threshold_backward(gradient, hidden, 0)
        return torch.ops.aten.gelu_backward(gradient, hidden)


def mix_wide(experts: Sequence[nn.Module], sub: Tensor, gates: Tensor) -> Tensor:
    """Return sum_e gates[:, e] * expert_e(sub), (X, W), in the type of `sub`; gates (X, N) may be one-hot.

    On a CPU dropout draws what the experts, run one after the other, would draw.
    """
    x, coefficients, joined, kind = _prepared(experts, sub, gates)
    x, joined = _cast(x, joined)
    masks = _masks(x, [len(x)] * len(experts), kind)
    mask = masks[0] if len(masks) == 1 else torch.cat(masks, dim=1) if masks else None
    mixed = cast(Tensor, _Wide.apply(x, coefficients, *joined, mask, kind))
    return mixed.to(sub.dtype)


def mix_switched(experts: Sequence[nn.Module], sub: Tensor, gates: Tensor) -> Tensor:
    """Return gates[:, e] * expert_e(sub) of each sub-token's most probable expert e, (X, W), in the type of `sub`.

    Sub-tokens are put in the order of their experts, each of which works on its own. For CPUs: it waits for numbers.
    """
    gate, chosen = gates.max(dim=-1, keepdim=True)
    order = chosen[:, 0].argsort(stable=True)
    counts = cast("list[int]", torch.bincount(chosen[:, 0], minlength=len(experts)).tolist())
    if isinstance(experts[0], DynamicAdapter):
        one_hot = torch.zeros_like(gates).scatter_(1, chosen, 1.0)
        x, scales, joined, kind = _prepared(experts, sub, one_hot)
        gate = gate * scales.gather(1, chosen)
    else:
        x, _, joined, kind = _prepared(experts, sub, gates)
    x, joined = _cast(x, joined)
    masks = _masks(x, counts, kind)
    mask = torch.cat(masks) if masks else None
    mixed = cast(Tensor, _Switched.apply(x, gate, *joined, mask, order, tuple(counts), kind))
    return mixed.to(sub.dtype)


def _prepared(experts: Sequence[nn.Module], sub: Tensor, gates: Tensor) -> tuple[Tensor, Tensor, Joined, Kind]:
    """Return what the wide form works on: input (X, W), coefficients (X, N), joined weights, and the experts' kind.

    A Dynamic Adapter's norm is the same for all experts up to its scale and shift, which become part of the weights
    behind it; its scale of the answer becomes part of the coefficients.
    """
    first = experts[0]
    assert isinstance(first, (Bottleneck, DynamicAdapter))
    down = torch.stack([_linear(expert, "down").weight for expert in experts])
    down_bias = torch.stack([_linear(expert, "down").bias for expert in experts])
    up = torch.cat([_linear(expert, "up").weight for expert in experts], dim=1)
    up_bias = torch.stack([_linear(expert, "up").bias for expert in experts])
    x, coefficients, activation = sub, gates, "relu"
    if isinstance(first, DynamicAdapter):
        dynamic = [expert for expert in experts if isinstance(expert, DynamicAdapter)]
        gamma, beta = (torch.stack([getattr(expert.norm, name) for expert in dynamic]) for name in ("weight", "bias"))
        weight = torch.cat([expert.scale.weight for expert in dynamic])
        bias = torch.cat([expert.scale.bias for expert in dynamic]) + (weight * beta).sum(dim=1)
        down_bias = down_bias + (down * beta[:, None]).sum(dim=2)
        down = down * gamma[:, None]
        x = F.layer_norm(sub, sub.shape[-1:], eps=first.norm.eps)
        coefficients = gates * F.relu(F.linear(x, weight * gamma, bias))
        activation = "gelu"
    elif first.activation == "gelu":
        activation = "gelu"
    kind = Kind(down.shape[1], activation, 1 - first.dropout.p if first.dropout.training else 1.0)
    return x, coefficients, Joined(down.flatten(0, 1), down_bias.flatten(), up, up_bias), kind


def _linear(expert: nn.Module, name: str) -> nn.Linear:
    found = getattr(expert, name)
    assert isinstance(found, nn.Linear)
    return found


def _cast(x: Tensor, joined: Joined) -> tuple[Tensor, Joined]:
    """Return input and weights in the type that autocast computes in, where it is on."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        precision = torch.get_autocast_dtype(device)
        return x.to(precision), Joined(*(one.to(precision) for one in joined))
    return x, joined


def _masks(x: Tensor, counts: Sequence[int], kind: Kind) -> list[Tensor]:
    """Return what dropout keeps, bool (count, R) for each expert, or one (X, H) on a GPU; nothing where it is off."""
    if kind.keep == 1.0:
        return []
    if x.device.type == "cpu":
        return [x.new_empty(count, kind.rank).bernoulli_(kind.keep).bool() for count in counts]
    width = kind.rank * len(counts)
    return [torch.empty(len(x), width, dtype=torch.bool, device=x.device).bernoulli_(kind.keep)]


def _hidden(x: Tensor, down: Tensor, bias: Tensor, mask: Tensor | None, kind: Kind) -> tuple[Tensor, Tensor]:
    """Return the hidden units before the activation, and after it and dropout."""
    before = torch.addmm(bias, x, down.t())
    after = kind.act(before)
    return before, after if mask is None else after.mul_(mask).mul_(1 / kind.keep)


def _hidden_backward(gradient: Tensor, before: Tensor, mask: Tensor | None, kind: Kind) -> Tensor:
    if mask is not None:
        gradient = gradient.mul_(mask).mul_(1 / kind.keep)
    return kind.act_backward(gradient, before)


class _Wide(torch.autograd.Function):
    """See `mix_wide`; the coefficients (X, N) are float32 whatever the products are made in."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        coefficients: Tensor,
        down: Tensor,
        down_bias: Tensor,
        up: Tensor,
        up_bias: Tensor,
        mask: Tensor | None,
        kind: Kind,
    ) -> Tensor:
        ctx.save_for_backward(x, coefficients, down, down_bias, up, up_bias, mask)
        ctx.kind = kind
        answer = torch.empty_like(x)
        with torch.autocast(x.device.type, enabled=False):
            for rows in _chunks(x):
                part = None if mask is None else mask[rows]
                _, hidden = _hidden(x[rows], down, down_bias, part, kind)
                chosen = coefficients[rows].to(x.dtype)
                _by_expert(hidden, kind).mul_(chosen[:, :, None])
                answer[rows] = torch.addmm(chosen @ up_bias, hidden, up.t())
        return answer

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, coefficients, down, down_bias, up, up_bias, mask = ctx.saved_tensors
        kind: Kind = ctx.kind
        exact = torch.promote_types(x.dtype, torch.float32)
        found = Joined(*(torch.zeros_like(one, dtype=exact) for one in (down, down_bias, up, up_bias)))
        of_x, of_coefficients = torch.empty_like(x), torch.empty_like(coefficients)
        with torch.autocast(x.device.type, enabled=False):
            for rows in _chunks(x):
                gradient, part = gradients[0][rows], None if mask is None else mask[rows]
                chosen = coefficients[rows].to(x.dtype)
                before, hidden = _hidden(x[rows], down, down_bias, part, kind)
                of_hidden = gradient @ up
                products = _by_expert(hidden * of_hidden, kind).sum(dim=-1, dtype=exact)
                of_coefficients[rows] = products.addmm_(gradient.to(exact), up_bias.to(exact).t()).to(
                    coefficients.dtype
                )
                _by_expert(hidden, kind).mul_(chosen[:, :, None])
                found.up.add_(gradient.t() @ hidden)
                found.up_bias.add_(chosen.t() @ gradient)
                _by_expert(of_hidden, kind).mul_(chosen[:, :, None])
                of_hidden = _hidden_backward(of_hidden, before, part, kind)
                found.down.add_(of_hidden.t() @ x[rows])
                found.down_bias.add_(of_hidden.sum(dim=0, dtype=exact))
                of_x[rows] = of_hidden @ down
        return of_x, of_coefficients, *(one.to(down.dtype) for one in found), None, None


class _Switched(torch.autograd.Function):
    """See `mix_switched`; `gate` (X, 1); `order` (X,) puts sub-tokens of one expert together, and `mask` is so."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gate: Tensor,
        down: Tensor,
        down_bias: Tensor,
        up: Tensor,
        up_bias: Tensor,
        mask: Tensor | None,
        order: Tensor,
        counts: tuple[int, ...],
        kind: Kind,
    ) -> Tensor:
        ctx.save_for_backward(x, gate, down, down_bias, up, up_bias, mask, order)
        ctx.counts, ctx.kind = counts, kind
        answer = torch.empty_like(x)
        with torch.autocast(x.device.type, enabled=False):
            for rows, expert in _segments(counts):
                units, mine = slice(expert * kind.rank, (expert + 1) * kind.rank), order[rows]
                part = None if mask is None else mask[rows]
                _, hidden = _hidden(x[mine], down[units], down_bias[units], part, kind)
                answered = torch.addmm(up_bias[expert], hidden, up[:, units].t())
                answer[mine] = answered.mul_(gate[mine].to(x.dtype))
        return answer

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, gate, down, down_bias, up, up_bias, mask, order = ctx.saved_tensors
        kind: Kind = ctx.kind
        exact = torch.promote_types(x.dtype, torch.float32)
        found = Joined(*(torch.zeros_like(one, dtype=exact) for one in (down, down_bias, up, up_bias)))
        of_x, of_gate = torch.empty_like(x), torch.empty_like(gate)
        with torch.autocast(x.device.type, enabled=False):
            for rows, expert in _segments(ctx.counts):
                units, mine = slice(expert * kind.rank, (expert + 1) * kind.rank), order[rows]
                part = None if mask is None else mask[rows]
                given, some, scale = gradients[0][mine], x[mine], gate[mine].to(x.dtype)
                before, hidden = _hidden(some, down[units], down_bias[units], part, kind)
                of_hidden = given @ up[:, units]
                products = (hidden * of_hidden).sum(dim=1, keepdim=True, dtype=exact)
                products += (given * up_bias[expert]).sum(dim=1, keepdim=True, dtype=exact)
                of_gate[mine] = products.to(gate.dtype)
                scaled = given.mul_(scale)
                found.up[:, units].add_(scaled.t() @ hidden)
                found.up_bias[expert].add_(scaled.sum(dim=0, dtype=exact))
                of_hidden = _hidden_backward(of_hidden.mul_(scale), before, part, kind)
                found.down[units].add_(of_hidden.t() @ some)
                found.down_bias[units].add_(of_hidden.sum(dim=0, dtype=exact))
                of_x[mine] = of_hidden @ down[units]
        return of_x, of_gate, *(one.to(down.dtype) for one in found), None, None, None, None


def _chunks(x: Tensor) -> list[slice]:
    step = _ROWS if x.device.type == "cpu" else max(1, len(x))
    return [slice(start, start + step) for start in range(0, len(x), step)]


def _segments(counts: Sequence[int]) -> list[tuple[slice, int]]:
    """Return (rows in the order of the experts, expert), each expert's rows in pieces."""
    found: list[tuple[slice, int]] = []
    start = 0
    for expert, count in enumerate(counts):
        found += [(slice(at, min(at + _ROWS, start + count)), expert) for at in range(start, start + count, _ROWS)]
        start += count
    return found


def _by_expert(hidden: Tensor, kind: Kind) -> Tensor:
    return hidden.view(len(hidden), -1, kind.rank)
