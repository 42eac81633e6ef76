"""The mixture without its experts' answers: equal to the mixture as written, in all its readings."""

from __future__ import annotations

import copy

import pytest
import torch
from pointsmith.core.bench.harness import Options
from pointsmith.core.bench.registry import run
from pointsmith.core.peft import mixture as mixtures
from pointsmith.core.peft.bottleneck import Bottleneck, DynamicAdapter
from pointsmith.core.peft.mixture import Router, SharedMixture, balance
from torch import Tensor

OPTIONS = [
    (routing, expert, temperature, dropout)
    for routing in ("dense", "top-1")
    for expert in ("bottleneck", "dynamic")
    for temperature in (None, 0.07)
    for dropout in (0.0, 0.3)
]


def mixture_of(routing: str, expert: str, temperature: float | None, dropout: float, width: int = 16) -> SharedMixture:
    torch.manual_seed(0)

    def make() -> torch.nn.Module:
        return DynamicAdapter(width, 6, dropout) if expert == "dynamic" else Bottleneck(width, 6, dropout=dropout)

    made = SharedMixture([make() for _ in range(4)], Router(width, 6, 4, temperature=temperature), 3, routing)  # type: ignore[arg-type]
    with torch.no_grad():  # what starts at zero would hide mistakes
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.train()


def pass_through(mixture: SharedMixture, x: Tensor, written_out: bool) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Answer, gradient of the input, and gradients of all parameters, of a loss that has the balance in it."""
    mixture = copy.deepcopy(mixture)
    mixture.written_out = mixture.router.written_out = written_out
    x = x.clone().requires_grad_()
    torch.manual_seed(7)
    mixed, gates = mixture(x)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    ((mixed.float() * weights).sum() + balance(gates)).backward()
    assert x.grad is not None
    return mixed.detach(), x.grad, {name: p.grad for name, p in mixture.named_parameters() if p.grad is not None}


def assert_near(found: Tensor, wanted: Tensor, share: float) -> None:
    assert float((found - wanted).norm()) <= share * max(float(wanted.norm()), 1e-3)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("tokens", [7, 2100], ids=["few", "several pieces"])
def test_answers_and_gradients_are_those_of_the_mixture_as_written(options: tuple, tokens: int) -> None:
    mixture = mixture_of(*options)
    x = torch.randn(1, tokens, 48, generator=torch.Generator().manual_seed(1))
    plain, fast = (pass_through(mixture, x, written) for written in (True, False))
    assert_near(fast[0], plain[0], 2e-6)
    assert_near(fast[1], plain[1], 5e-6)
    assert set(fast[2]) == set(plain[2])
    for name, gradient in plain[2].items():
        assert_near(fast[2][name], gradient, 1e-5)


@pytest.mark.parametrize("options", [one for one in OPTIONS if one[2] is None and one[3] == 0.0], ids=str)
def test_in_bf16_the_gradients_point_the_same_way(options: tuple) -> None:
    """With the gates given: in bf16 a sub-token whose two best experts are level may go to the other one."""
    mixture = mixture_of(*options)
    sub = torch.randn(900, 16, generator=torch.Generator().manual_seed(1))
    gates = mixture.router(sub).detach()

    def gradients(written_out: bool) -> list[Tensor]:
        mixture.written_out, given = written_out, gates.clone().requires_grad_()
        mixture.zero_grad()
        x = sub.clone().requires_grad_()
        if not written_out:
            mixed = mixture._fast(x, given)
        else:
            mixed = mixture._dense(x, given) if options[0] == "dense" else mixture._top1(x, given)
        mixed.float().square().sum().backward()
        assert x.grad is not None and given.grad is not None
        return [
            mixed,
            x.grad,
            given.grad,
            *(p.grad.clone() for p in mixture.experts.parameters() if p.grad is not None),
        ]

    wanted = gradients(True)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(False)
    assert found[0].dtype == torch.float32 and len(found) == len(wanted) > 10
    for one, other in zip(found, wanted):
        assert torch.cosine_similarity(one.flatten().double(), other.flatten().double(), dim=0) >= 0.998


def test_an_expert_that_nobody_chooses_gets_zeros() -> None:
    mixture = mixture_of("top-1", "bottleneck", None, 0.0)
    with torch.no_grad():
        mixture.router.embeddings.copy_(torch.eye(4, 6))
        mixture.router.project.weight.zero_()
    _, _, gradients = pass_through(mixture, torch.randn(2, 5, 48), False)
    assert all(not gradients[f"experts.{e}.up.weight"].any() for e in (1, 2, 3))
    assert gradients["experts.0.up.weight"].any()


def test_one_gate_left_in_the_wide_form_is_top_1() -> None:
    """What a GPU runs, on a CPU."""
    mixture = mixture_of("top-1", "dynamic", None, 0.0)
    x = torch.randn(2, 50, 48, generator=torch.Generator().manual_seed(1))
    sub = x.reshape(-1, 16)
    gates = mixture.router(sub)
    one_hot = torch.zeros_like(gates).scatter_(1, gates.argmax(dim=-1, keepdim=True), 1.0)
    wide = mixtures.mix_wide(list(mixture.experts), sub, gates * one_hot)
    torch.testing.assert_close(wide.view(x.shape), mixture(x)[0], rtol=1e-5, atol=1e-6)


def test_little_is_kept_for_the_backward_pass() -> None:
    mixture = mixture_of("dense", "bottleneck", None, 0.0, width=128)
    x = torch.randn(4, 129, 384).requires_grad_()
    kept = {}
    for written in (True, False):
        mixture.written_out = mixture.router.written_out = written
        found: dict[int, int] = {}

        def note(tensor: Tensor, found: dict[int, int] = found) -> Tensor:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            mixture(x)
        kept[written] = sum(found.values())
    assert kept[False] < kept[True] / 4


def test_the_benchmark_runs_and_finds_no_error() -> None:
    report = run("moa_micro", Options(rounds=1, small=True))
    ours = [row for row in report.rows if row[1] == "pointsmith"]
    assert len(ours) == 6 and all(float(row[5]) < (1e-5 if "float32" in row[0] else 0.05) for row in ours)
