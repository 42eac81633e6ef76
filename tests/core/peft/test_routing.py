"""What the router decides can be watched, and watching changes nothing."""

from __future__ import annotations

import pytest
import torch
from pointsmith.core.building import build
from pointsmith.core.peft.mixture import balance
from pointsmith.core.peft.routing import watching

from tests.support.tiny import tiny_run


def model_of(**method):
    built = build(tiny_run({"kind": "dapt-x", "rank": 4, **method}), 5)
    torch.manual_seed(0)
    with torch.no_grad():
        for _, parameter in built.model.trainable():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return built.model.eval()


def clouds() -> torch.Tensor:
    return torch.randn(3, 64, 3, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("shared", [True, False])
def test_gates_of_every_block_token_and_sub_token(shared: bool) -> None:
    model = model_of(shared=shared)
    before = model(clouds())
    with watching(model.method, batch=3) as routes:
        watched = model(clouds())
    assert torch.equal(before, watched)
    # class token + 8 patches; the first block's prompt stands before the second
    assert [tuple(gates.shape) for gates in routes.gates] == [(3, 9, 3, 4), (3, 10, 3, 4)]
    assert all(torch.allclose(gates.sum(-1), torch.ones(())) for gates in routes.gates)
    assert routes.load().shape == (2, 4) and torch.allclose(routes.load().sum(1), torch.ones(2))
    assert (routes.entropy() > 0).all()
    model(clouds())
    assert len(routes.gates) == 2  # nobody looks any more
    assert all("deltas" not in vars(mixture.router) for mixture in model.method.mixtures)


def test_other_methods_route_nothing() -> None:
    model = build(tiny_run({"kind": "dapt", "rank": 4}), 5).model
    with watching(model.method, batch=3) as routes:
        assert routes is None


def test_top1_runs_only_the_best_expert_and_scales_it_by_its_gate() -> None:
    mixture = model_of().method.mixtures[0]
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(1))
    mixed, gates = mixture(x)
    sub = x.view(-1, 8)
    best = gates.argmax(dim=1)
    wanted = torch.stack([mixture.experts[int(p)](s[None])[0] * gates[i, p] for i, (s, p) in enumerate(zip(sub, best))])
    assert torch.allclose(mixed.view(-1, 8), wanted, atol=1e-6)


def test_dense_is_the_sum_of_all_experts_weighted_by_their_gates() -> None:
    mixture = model_of(routing="dense").method.mixtures[0]
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(1))
    mixed, gates = mixture(x)
    sub = x.view(-1, 8)
    wanted = sum(gates[:, p : p + 1] * expert(sub) for p, expert in enumerate(mixture.experts))
    assert torch.allclose(mixed.view(-1, 8), wanted, atol=1e-6)


def test_balance_is_one_when_even_and_the_number_of_experts_when_all_go_to_one() -> None:
    even = torch.eye(4).repeat(3, 1)
    assert float(balance(even)) == pytest.approx(1.0)
    assert float(balance(even[:1].repeat(5, 1))) == pytest.approx(4.0)


@pytest.mark.parametrize(("how", "factor"), [("mean", 1.0), ("sum", 2.0)])
def test_the_penalty_is_that_of_one_pass_whether_or_not_blocks_are_recomputed(how: str, factor: float) -> None:
    plain, recomputed = model_of(balance_over_blocks=how, dropout=0.0), model_of(balance_over_blocks=how, dropout=0.0)
    recomputed.recompute()
    found = []
    for model in (plain, recomputed):
        model.train()
        for _ in range(2):  # the second pass must not see terms of the first
            model.zero_grad()
            torch.manual_seed(0)
            penalty = (model(clouds()).sum(), model.method.penalty())
            (penalty[0] + penalty[1]).backward()
        found.append(penalty[1].item())
    assert found[0] == pytest.approx(found[1], abs=1e-7)
    assert 0.01 * factor * 0.5 < found[0] < 0.01 * factor * 4


def test_a_cosine_score_depends_on_the_direction_of_a_sub_token_only() -> None:
    router = model_of(score="cosine").method.mixtures[0].router
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(router(x), router(7 * x), atol=1e-5)
    directions = [torch.nn.functional.normalize(part, dim=-1) for part in (router.project(x), router.embeddings)]
    assert torch.allclose(router(x), (directions[0] @ directions[1].T / 0.07).softmax(-1), atol=1e-5)


def test_prompts_may_be_made_of_the_patches_alone() -> None:
    one, two = model_of(), model_of(prompt_tokens="patches")
    with torch.no_grad():
        for (_, a), (_, b) in zip(one.named_parameters(), two.named_parameters()):
            b.copy_(a)
    rows = [model.method.rows[0] for model in (one, two)]
    x = torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(5))
    prompts = []
    for row in rows:
        row.add_update(x, torch.zeros_like(x))
        update = row._update
        prompts.append(row.insert_prompt(x, x)[:, 1])
    gamma, beta = two.method.generators[0].gamma, two.method.generators[0].beta
    pooled = [update.mean(1), update[:, 1:].mean(1)]
    for prompt, mean in zip(prompts, pooled):
        assert torch.allclose(prompt, (mean.view(2, 3, 8) * gamma + beta).reshape(2, 24), atol=1e-6)


def test_the_scale_multiplies_what_the_mixture_adds() -> None:
    one, two = model_of(), model_of(scale=0.5)
    x = torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(6))
    added = [model.method.rows[0].add_update(x, torch.zeros_like(x)) for model in (one, two)]
    assert torch.allclose(0.5 * added[0], added[1], atol=1e-6)
