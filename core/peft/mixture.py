"""Sharing Mixture of Adapters: one router and one set of experts, shared by every block (Adapter-X, arXiv 2406.03051).

Shapes: tokens (B, L, D) are cut into h sub-tokens of width D/h; X = B * L * h sub-tokens are routed to N experts.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.tuned import tuned
from .wide import mix_switched, mix_wide

Routing = Literal["top-1", "dense"]


class Router(nn.Module):
    """Gates (X, N) of sub-tokens (X, D/h): softmax over (W x) · ê, ê an embedding of unit length (eq. 4, 5).

    With a temperature W x is of unit length too and the score is divided by it (X-MoE, arXiv 2204.09179, section 3.2).
    Without one, unless `written_out`, both matrices are multiplied first, so that no W x is made or kept.
    """

    def __init__(
        self, width: int, inner: int, experts: int, *, normalise: bool = True, temperature: float | None = None
    ) -> None:
        super().__init__()
        self.project = nn.Linear(width, inner, bias=False)
        self.embeddings = nn.Parameter(torch.empty(experts, inner))
        self.normalise, self.temperature = normalise or temperature is not None, temperature
        self.written_out = False
        nn.init.kaiming_uniform_(self.project.weight, a=5**0.5)
        nn.init.trunc_normal_(self.embeddings, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        experts = F.normalize(self.embeddings, dim=-1) if self.normalise else self.embeddings
        if self.temperature is None and not self.written_out:
            return F.linear(x, experts.to(self.project.weight.dtype) @ self.project.weight).float().softmax(dim=-1)
        projected = self.project(x)
        if self.temperature is not None:
            projected = F.normalize(projected, dim=-1) / self.temperature
        return (projected @ experts.T.to(x.dtype)).float().softmax(dim=-1)


class SharedMixture(nn.Module):
    """Mixture of adapters over sub-tokens, (B, L, D) to (B, L, D).

    `top-1`: each sub-token goes to its most probable expert, whose answer is multiplied by its gate (figure 2; Switch
    Transformer). `dense`: the sum of all experts' answers weighted by their gates (equation 3, algorithm 1).
    Answers (mixed tokens, gates (X, N)); see `balance`.

    `written_out`: the experts one by one, as the papers write it. Else, unless a compiler looks on, the same numbers up
    to rounding with less work and memory (`wide`). On a GPU top-1 is the wide form with one gate left: nothing waits
    for numbers there.
    """

    def __init__(self, experts: list[nn.Module], router: Router, heads: int, routing: Routing) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.router = router
        self.heads, self.routing = heads, routing
        self.written_out = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sub = x.reshape(-1, x.shape[-1] // self.heads)
        gates = tuned(self.router, sub)
        if self.written_out or torch.compiler.is_compiling():
            mixed = self._dense(sub, gates) if self.routing == "dense" else self._top1(sub, gates)
        else:
            mixed = self._fast(sub, gates)
        return mixed.view(x.shape), gates

    def _fast(self, sub: Tensor, gates: Tensor) -> Tensor:
        experts = list(self.experts)
        if self.routing == "dense":
            return mix_wide(experts, sub, gates)
        if sub.device.type == "cpu":
            return mix_switched(experts, sub, gates)
        chosen = gates.argmax(dim=-1, keepdim=True)
        return mix_wide(experts, sub, gates * torch.zeros_like(gates).scatter_(1, chosen, 1.0))

    def _dense(self, sub: Tensor, gates: Tensor) -> Tensor:
        weighted = [expert(sub) * gates[:, p : p + 1] for p, expert in enumerate(self.experts)]
        return torch.stack(weighted).sum(dim=0)

    def _top1(self, sub: Tensor, gates: Tensor) -> Tensor:
        gate, chosen = gates.max(dim=-1, keepdim=True)
        answer = torch.zeros_like(sub)
        for p, expert in enumerate(self.experts):
            mine = (chosen[:, 0] == p).nonzero()[:, 0]
            answer = answer.index_copy(0, mine, (expert(sub[mine]) * gate[mine]).to(sub.dtype))
        return answer


def balance(gates: Tensor, share: Tensor | None = None) -> Tensor:
    """Return N * sum over experts of (share of sub-tokens whose first choice it is) * (its mean gate); 1 when even.

    The Switch Transformer's loss; Adapter-X, section 3.2, multiplies it by 0.01. `share` (N,) is given where the gates
    are those of a part of the batch only: then the mean of the parts' losses, by their sizes, is the whole batch's.
    """
    share = first_choices(gates) / len(gates) if share is None else share
    return gates.shape[-1] * (share * gates.mean(dim=0)).sum()


def first_choices(gates: Tensor) -> Tensor:
    """Return how many sub-tokens have each expert as their first choice, (N,) in the type of the gates."""
    return F.one_hot(gates.argmax(dim=-1), gates.shape[-1]).to(gates.dtype).sum(dim=0)
