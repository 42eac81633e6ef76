"""What a step keeps: nothing of the embedding where blocks are recomputed, of DAPT's adapters their input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pointsmith.core.building import build
from pointsmith.core.fast.accelerate import accelerate
from pointsmith.core.peft import dapt
from pointsmith.core.peft.bottleneck import DynamicAdapter
from pointsmith.core.training.gradients import Gradients, Way
from pointsmith.core.training.memory import most_taken
from pointsmith.core.training.task import ClassTask

from tests.support.tiny import BACKBONE, inputs_for, tiny_run

CPU = torch.device("cpu")
RUN = tiny_run(backbone={**BACKBONE, "groups": 32, "widths": [32, 64, 256]})


def taken(mode: str) -> tuple[int, list[torch.Tensor]]:
    """The most that tensors take in a step, and its gradients."""
    torch.manual_seed(0)
    model = build(RUN, 5).model.train()
    with torch.no_grad():
        for _, parameter in model.trainable():
            parameter.add_(torch.full_like(parameter, 0.1))
    accelerate(model, "float32", CPU)
    made = Gradients(model, ClassTask(5), "float32", CPU)
    made.take(Way.parse(mode))
    inputs, labels = inputs_for(RUN.backbone, 8), torch.arange(8) % 5

    def step() -> None:
        torch.manual_seed(1)
        made.of(inputs, labels)

    step()
    most = most_taken(step, CPU)
    return most, [one.grad.clone() for _, one in model.trainable() if one.grad is not None]


def test_a_recomputed_step_keeps_no_features_of_the_embedding() -> None:
    features = 8 * 32 * 8 * 256 * 4  # of all points, in front of the last layer
    kept, plain = taken("fast")
    sparing, again = taken("recompute")
    assert kept > features > sparing
    assert all(torch.equal(one, other) for one, other in zip(plain, again))


def test_dapt_keeps_its_adapters_input_alone_and_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, learnt = taken("fast")

    def whole(work: Any, given: Any, weights: Any) -> Any:
        return work(*given)

    monkeypatch.setattr(dapt, "made_again", whole)
    _, wanted = taken("fast")
    assert len(learnt) == len(wanted) > 10
    assert all(torch.equal(one, other) for one, other in zip(learnt, wanted))


def test_a_draw_beforehand_drops_what_the_adapter_itself_would() -> None:
    adapter = DynamicAdapter(24, 4, 0.3).train()
    torch.nn.init.normal_(adapter.up.weight)
    z = torch.randn(3, 9, 24)
    torch.manual_seed(5)
    inside = adapter(z)
    after = torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(adapter(z, adapter.draw(z)), inside) and torch.equal(torch.get_rng_state(), after)
    assert adapter.eval().draw(z) is None
