"""One block's shared mixture of adapters, forward and backward: ours beside the paper's algorithm, time and memory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..peft.bottleneck import Bottleneck
from ..peft.mixture import Router, Routing, SharedMixture
from ..training.stepping import computing_in
from .harness import RATIOS, TIMES, Candidate, Cell, Options, Report, compare, ratios, times

HEADS, EXPERTS, RANK, WIDTH = 3, 4, 64, 384
TOKENS = (32, 129)
SMALL = (2, 9)
_CASES: tuple[tuple[Routing, str, float], ...] = (
    ("dense", "float32", 0.0),
    ("dense", "bf16", 0.0),
    ("top-1", "float32", 0.0),
    ("top-1", "bf16", 0.0),
    ("dense", "float32", 0.1),
    ("top-1", "float32", 0.1),
)


class PaperCode(nn.Module):
    """Adapter-X's algorithm 1: a loop over the experts, a stack of their answers, a batched product with the gates."""

    def __init__(self, mixture: SharedMixture) -> None:
        super().__init__()
        self.experts, self.router = mixture.experts, mixture.router

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sub = x.reshape(-1, x.shape[-1] // HEADS)
        embeddings = F.normalize(self.router.embeddings, dim=-1)
        gates = (self.router.project(sub) @ embeddings.T).softmax(dim=-1)
        answers = torch.stack([expert(sub) for expert in self.experts], dim=1)
        return torch.bmm(gates.to(answers.dtype).unsqueeze(1), answers).squeeze(1).view(x.shape), gates


def run(options: Options) -> Report:
    table: list[list[Cell]] = []
    shape = (*(SMALL if options.small else TOKENS), WIDTH)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for routing, precision, dropout in _CASES:
        mixture = _mixture(routing, dropout)
        written, paper = copy.deepcopy(mixture), PaperCode(copy.deepcopy(mixture))
        written.written_out = written.router.written_out = True
        contenders: dict[str, nn.Module] = {"pointsmith": mixture, "paper's code (all experts)": paper}
        if routing == "top-1":
            contenders["one expert after the other"] = written
        error = f"{_difference(mixture, written, x, precision):.0e}"
        candidates = [Candidate(name, partial(_step, one, x, precision)) for name, one in contenders.items()]
        timings = compare(candidates, rounds=options.rounds)
        kept = {name: _kept(partial(_forward, one, x, precision)) / 1e6 for name, one in contenders.items()}
        for one in timings:
            label = f"{routing}, {precision}" + (f", dropout {dropout:g}" if dropout else "")
            less = kept[one.name] / kept["pointsmith"]
            told = error if one.name == "pointsmith" else "–"
            table.append([label, one.name, *times(one), kept[one.name], told, *ratios(one, timings[0]), less])
    columns = ("routing", "by", *TIMES, "kept, MB", "error", *RATIOS, "ratio of kept")
    count = shape[0] * shape[1] * HEADS
    title = f"mixture of adapters, forward and backward, {count:,} sub-tokens of {WIDTH // HEADS}, {EXPERTS} experts"
    notes = ("`error`: the largest gradient's difference from the mixture as written, over its norm.",)
    return Report("moa_micro", title, columns, table, notes)


def _mixture(routing: Routing, dropout: float) -> SharedMixture:
    width = WIDTH // HEADS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        experts: list[nn.Module] = [Bottleneck(width, RANK, activation="gelu", dropout=dropout) for _ in range(EXPERTS)]
        mixture = SharedMixture(experts, Router(width, RANK, EXPERTS), HEADS, routing).train()
        with torch.no_grad():
            for parameter in mixture.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return mixture


def _forward(mixture: nn.Module, x: Tensor, precision: str) -> Tensor:
    with computing_in(precision, x.device):
        return mixture(x)[0]


def _step(mixture: nn.Module, x: Tensor, precision: str) -> None:
    mixture.zero_grad(set_to_none=True)
    x.grad = None
    _forward(mixture, x, precision).sum().backward()


def _difference(mixture: SharedMixture, written: SharedMixture, x: Tensor, precision: str) -> float:
    """Return the largest relative difference of a parameter's gradient, the same things dropped."""
    for one in (mixture, written):
        torch.manual_seed(1)
        _step(one, x, precision)
    largest = 0.0
    for one, other in zip(mixture.parameters(), written.parameters()):
        mine, wanted = one.grad, other.grad
        assert isinstance(mine, Tensor) and isinstance(wanted, Tensor)
        size = float(wanted.square().sum().sqrt())
        largest = max(largest, float(torch.dist(mine, wanted)) / max(1e-12, size))
    return largest


def _kept(work: Callable[[], Tensor]) -> float:
    """Return the bytes that a forward pass keeps for its backward pass, each tensor's memory counted once."""
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        work()
    return float(sum(found.values()))
