"""Steps that nobody waits for, and the step as a CUDA graph: the same numbers, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from pointsmith.core.building import build
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.data.load import load
from pointsmith.core.errors import Diverged, UserError
from pointsmith.core.events import Event
from pointsmith.core.training import train
from pointsmith.core.training.gradients import Way
from pointsmith.core.training.graph import check_graph, untouched
from pointsmith.core.training.optimizer import make_optimizer
from pointsmith.core.training.stepping import Steps
from pointsmith.core.training.train import Trainer
from torch import nn

from tests.support.tiny import tiny_run

CPU = torch.device("cpu")
DATA = {"kind": "demo", "train_per_class": 8, "test_per_class": 2, "preparation": {"points": 64}, "validation": 0.25}
LONG = tiny_run(data=DATA, batch_size=2, epochs=2)
"""45 steps an epoch, of which every other is told."""


def numbers(events: list[Event]) -> list[tuple[Any, ...]]:
    steps = [(e.step, e.epoch, e.loss, e.lr, e.grad_norm) for e in events if e.kind == "step"]
    return steps + [(e.epoch, e.train_loss, e.train_accuracy) for e in events if e.kind == "epoch"]


def trained(config: RunConfig, folder: Path, waits: bool, stop: Callable[[], bool] = lambda: False) -> list[Event]:
    trainer = Trainer(config, folder, load(config.data), CPU)
    trainer.waits = waits
    return list(trainer.run(stop))


def test_numbers_that_are_read_late_are_the_same(tmp_path: Path) -> None:
    wanted = numbers(trained(LONG, tmp_path / "each", waits=True))
    assert sum(len(row) == 5 for row in wanted) == 2 * 23
    assert numbers(trained(LONG, tmp_path / "late", waits=False)) == wanted


def test_a_run_stopped_between_two_readings_loses_no_number(tmp_path: Path) -> None:
    wanted = numbers(trained(LONG, tmp_path / "whole", waits=False))
    asked = count()
    first = trained(LONG, tmp_path / "cut", waits=False, stop=lambda: next(asked) >= 7)
    assert first[-1].kind == "interrupted" and first[-1].step == 7
    second = trained(LONG, tmp_path / "cut", waits=False)
    assert sorted(numbers(first) + numbers(second)) == sorted(wanted)


def test_a_step_that_is_not_finite_changes_nothing_and_is_named_when_it_is_read() -> None:
    weight = nn.Parameter(torch.ones(3))
    steps = Steps(torch.optim.AdamW([weight], lr=0.1, fused=True), [weight], clip=1.0)
    for step, gradient in enumerate((1.0, float("nan"), 1.0), start=1):
        weight.grad = torch.full((3,), gradient)
        before = weight.detach().clone()
        steps.keep(step, steps.advance(torch.tensor(0.5)))
        assert torch.equal(before, weight.detach()) == (step == 2)
    with pytest.raises(Diverged, match=r"at step 2: loss 0\.5, gradient norm nan"):
        steps.read()
    assert steps.read() == []


def test_recording_leaves_model_optimiser_and_generators_as_they_were() -> None:
    config = tiny_run()
    model = build(config, 5).model.train()
    optimizer = make_optimizer(model, 0.1, 0.05)
    steps = Steps(optimizer, [p for _, p in model.trainable()], 1.0)
    inputs = torch.randn(4, 64, 3, generator=torch.Generator().manual_seed(0))

    def work() -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), torch.arange(4))
        loss.backward()
        steps.advance(loss)

    def told() -> list[torch.Tensor]:
        moments = [value for state in optimizer.state.values() for value in state.values()]
        return [*(one.clone() for one in (*model.state_dict().values(), *moments)), torch.get_rng_state()]

    places = [p.data_ptr() for p in model.parameters()]
    fresh = [one.clone() for one in model.state_dict().values()]
    with untouched(model, optimizer, CPU):
        work()
    assert all(torch.equal(one, other) for one, other in zip(model.state_dict().values(), fresh))
    assert all(not value.any() for state in optimizer.state.values() for value in state.values())
    work()
    before = told()
    with untouched(model, optimizer, CPU):
        work()
        assert not all(torch.equal(one, other) for one, other in zip(told(), before))
    assert all(torch.equal(one, other) for one, other in zip(told(), before))
    assert places == [p.data_ptr() for p in model.parameters()]


def test_a_learning_rate_in_a_tensor_is_filled() -> None:
    model = build(tiny_run(), 5).model
    optimizer = make_optimizer(model, 0.1, 0.05, on_device=CPU)
    rate = optimizer.param_groups[0]["lr"]
    Steps(optimizer, [], 1.0).set_learning_rate(0.25)
    assert [group["lr"] is rate for group in optimizer.param_groups] == [True, True] and float(rate) == 0.25


def test_a_graph_is_refused_where_steps_are_not_static(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="graph records steps on a GPU: 'cpu'"):
        list(train(tiny_run(graph=True), tmp_path, device="cpu"))
    cuda = torch.device("cuda")
    supernet = build(tiny_run({"kind": "noah", "plan": None}), 5).model
    with pytest.raises(UserError, match="supernet draws other sizes"):
        check_graph(supernet, Way("fast"), cuda)
    model = build(parse_config(tiny_run({"kind": "noah"}).to_dict()), 5).model
    check_graph(model, Way("fast"), cuda)
    for way in (Way("two-phase", 4), Way("fast", 2), Way("recompute")):
        with pytest.raises(UserError, match="memory fast, and accumulate 1"):
            check_graph(model, way, cuda)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["dapt", "adaptformer-x", "lora", "idpt", "full"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_graph_steps_as_the_plain_loop(tmp_path: Path, kind: str, precision: str) -> None:
    method = {"kind": kind, **({"neighbours": 4} if kind == "idpt" else {})}
    common: dict[str, Any] = {"memory": "fast", "precision": precision, "epochs": 1}
    losses: list[list[float]] = []
    for graph in (False, True):
        events = list(train(tiny_run(method, **common, graph=graph), tmp_path / str(graph), device="cuda"))
        assert events[-1].kind == "finished"
        losses.append([event.loss for event in events if event.kind == "step"])
    assert len(losses[0]) == 5
    tolerance = 1e-4 if precision == "float32" else 2e-2
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=tolerance, atol=tolerance)
