"""Every input with weights of its own: the modules of methods and heads on stacked tensors, one product for all.

Shapes: n lanes (inputs, each with its adapter), X rows of one lane; weights have a leading axis n. An input's rows lie
together, so that whatever is (n * X, C) or (n, X, C) is seen as (n, X, C).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.point_transformer import PointTransformer
from ..models.vit import VisionTransformer
from ..peft.bottleneck import Bottleneck, DynamicAdapter
from ..peft.idpt import IDPT, EdgeConv
from ..peft.lora import LowRank
from ..peft.mixture import Router, SharedMixture
from ..peft.noah import SlicedAdapter, SlicedLowRank, SlicedPrompts
from ..peft.prefix import PrefixRow
from ..peft.scale_shift import ScaleShift
from ..peft.vpt import PromptRow


class LaneLinear(nn.Linear):
    """Weight (n, O, I) and bias (n, O), or a shared weight (O, I) where only the bias is a lane's own."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            answer = F.linear(input, self.weight)
            return (answer.reshape(len(self.bias), -1, answer.shape[-1]) + self.bias[:, None]).view(answer.shape)
        bias = cast("Tensor | None", self.bias)
        return _product(input, self.weight, None if bias is None else bias[:, None])


class LaneLayerNorm(nn.LayerNorm):
    """Scale (n, D) and shift (n, D), or one of them shared (D,)."""

    def forward(self, input: Tensor) -> Tensor:
        plain = F.layer_norm(input, self.normalized_shape, eps=self.eps)
        return _scaled(plain, self.weight, self.bias)


class LaneBatchNorm(nn.BatchNorm1d):
    """A batch norm of fixed statistics (n, C), over (n * X, C)."""

    def forward(self, input: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return _scaled(input, scale, self.bias - self.running_mean * scale)


class LaneScaleShift(ScaleShift):
    """Vectors (n, 1, C) over (n, X, C), written over the answer of the operation, which nobody else reads."""

    def forward(self, x: Tensor | None, y: Tensor) -> Tensor:
        return super().forward(x, y) if x is None else torch.addcmul(self.beta, y, self.gamma, out=y)


class LaneSlicedAdapter(SlicedAdapter):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        hidden = self.down(y)
        return y + self.up(hidden * torch.sigmoid(1.702 * hidden))


class LaneLowRank(LowRank):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        pieces: list[Tensor] = list(torch.split(y, self.width, dim=-1))
        for place, down, up in zip(self.places, self.down, self.up):
            pieces[place] = pieces[place] + self.scale * _product(_product(x, down), up)
        return torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0]


class LaneSlicedLowRank(SlicedLowRank):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + _product(_product(x, self.down[0]), self.up[0])


class LaneEdgeConv(EdgeConv):
    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[2]
        near = torch.cdist(x, x).topk(self.neighbours, largest=False).indices
        lane = torch.arange(len(x), device=x.device)[:, None, None]
        of_neighbour, of_centre = self.weight.weight[..., :width], self.weight.weight[..., width:]
        edges = _product(x, of_neighbour)[lane, near] + _product(x, of_centre - of_neighbour)[:, :, None]
        edges = self.norm(edges.flatten(0, 2)).view(edges.shape)
        return F.leaky_relu(edges, 0.2).amax(dim=2)


class LaneRouter(Router):
    """Gates (n * X, N) of each lane's own router."""

    def forward(self, x: Tensor) -> Tensor:
        experts = F.normalize(self.embeddings, dim=-1) if self.normalise else self.embeddings
        projected = self.project(x)
        if self.temperature is not None:
            projected = F.normalize(projected, dim=-1) / self.temperature
        return _product(projected, experts.to(x.dtype)).float().softmax(dim=-1)


class LaneMixture(SharedMixture):
    """All experts of each lane beside each other, as in `peft.wide`; top-1 keeps one gate and leaves the others 0."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sub = x.reshape(-1, x.shape[-1] // self.heads)
        gates = self.router(sub)
        chosen = gates
        if self.routing == "top-1":
            best = gates.argmax(dim=-1, keepdim=True)
            chosen = torch.zeros_like(gates).scatter_(1, best, gates.gather(1, best))
        return self._mixed(sub, chosen.to(x.dtype)).view(x.shape), gates

    def _mixed(self, sub: Tensor, coefficients: Tensor) -> Tensor:
        first = self.experts[0]
        if isinstance(first, DynamicAdapter):
            parts = [cast(DynamicAdapter, expert) for expert in self.experts]
            sub_plain = F.layer_norm(sub, sub.shape[-1:], eps=first.norm.eps)
            gamma, beta = (torch.stack([getattr(p.norm, name) for p in parts], 1) for name in ("weight", "bias"))
            scale = torch.cat([p.scale.weight for p in parts], dim=1)
            bias = torch.cat([p.scale.bias for p in parts], dim=1) + (scale * beta).sum(dim=2)
            coefficients = coefficients * F.relu(_product(sub_plain, scale * gamma, bias[:, None]))
            down = torch.stack([p.down.weight for p in parts], 1)
            down_bias = torch.stack([p.down.bias for p in parts], 1) + (down * beta[:, :, None]).sum(dim=3)
            down, sub, gelu = down * gamma[:, :, None], sub_plain, True
        else:
            assert isinstance(first, Bottleneck)
            parts = [cast(Bottleneck, expert) for expert in self.experts]
            down = torch.stack([p.down.weight for p in parts], 1)
            down_bias = torch.stack([p.down.bias for p in parts], 1)
            gelu = first.activation == "gelu"
        hidden = _product(sub, down.flatten(1, 2), down_bias.flatten(1)[:, None])
        hidden = F.gelu(hidden) if gelu else F.relu(hidden)
        hidden.view(len(sub), len(parts), -1).mul_(coefficients[:, :, None])
        up = torch.cat([p.up.weight for p in parts], dim=2)
        up_bias = torch.stack([p.up.bias for p in parts], dim=2)
        return _product(hidden, up, _product(coefficients, up_bias).view(len(up), -1, up.shape[1]))


def _product(x: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + a for x of n * X rows (…, I), weights (n, O, I), and a (n, X, O) or (n, 1, O)."""
    rows = x.reshape(len(weight), -1, x.shape[-1])
    if added is None:
        made = torch.bmm(rows, weight.to(rows.dtype).mT)
    else:
        made = torch.baddbmm(added.to(rows.dtype), rows, weight.to(rows.dtype).mT)
    return made.view(*x.shape[:-1], -1)


def _scaled(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale * x + shift; each is (n, C), or (C,) for all lanes."""
    lanes = max(len(one) if one.dim() == 2 else 1 for one in (scale, shift))
    rows = x.reshape(lanes, -1, x.shape[-1])
    scale, shift = (one[:, None] if one.dim() == 2 else one for one in (scale, shift))
    return torch.addcmul(shift.to(x.dtype), rows, scale.to(x.dtype)).view(x.shape)


LANE_WISE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: LaneLinear,
    nn.LayerNorm: LaneLayerNorm,
    nn.BatchNorm1d: LaneBatchNorm,
    SlicedAdapter: LaneSlicedAdapter,
    LowRank: LaneLowRank,
    SlicedLowRank: LaneSlicedLowRank,
    EdgeConv: LaneEdgeConv,
    Router: LaneRouter,
    ScaleShift: LaneScaleShift,
    SharedMixture: LaneMixture,
}
"""Modules whose code has to know of lanes, and the same with it."""

_OVER_TOKENS: tuple[type[nn.Module], ...] = (ScaleShift,)
"""Modules whose vectors (C,) act on (n, X, C) as they stand."""
_OF_TOKENS = (PromptRow, SlicedPrompts, IDPT, PointTransformer, VisionTransformer)
"""Modules whose own tensors (1, X, C) stand for all inputs alike."""


def stacked_shape(owner: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape behind the lanes' axis that the owner's code takes a tensor in; None: it knows no lanes."""
    if isinstance(owner, _OVER_TOKENS):
        return (1, *shape)
    if isinstance(owner, _OF_TOKENS):
        return shape[1:] if shape[0] == 1 else None
    if isinstance(owner, (nn.ParameterList, PrefixRow, *LANE_WISE)):
        return shape
    return None
