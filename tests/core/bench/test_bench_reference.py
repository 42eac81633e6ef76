"""The reference model of the benchmarks computes the function of ours: logits and gradients, method by method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pointsmith.core.bench.reference import Reference, ReferenceStep, farthest_points, group
from pointsmith.core.building import build
from pointsmith.core.config import parse_config
from pointsmith.core.errors import UserError
from pointsmith.core.models import grouping
from pointsmith.core.peft.tuned_model import Tuned

SMALL = {"kind": "demo", "weights": "random", "groups": 24, "group_size": 8, "depth": 3, "drop_path": 0.0}
METHODS: list[dict[str, Any]] = [
    {"kind": "full"},
    {"kind": "probe"},
    {"kind": "bitfit"},
    {"kind": "norm-tuning"},
    {"kind": "lora", "rank": 4, "targets": ("qv", "fc1", "proj")},
    {"kind": "ssf", "ends": True},
    {"kind": "adapter", "rank": 8, "places": "both"},
    {"kind": "adaptformer", "rank": 8, "dropout": 0.0},
    {"kind": "dapt", "rank": 8, "dropout": 0.0},
    {"kind": "dapt-x", "rank": 8, "dropout": 0.0, "routing": "dense"},
    {"kind": "dapt-x", "rank": 8, "dropout": 0.0},
    {"kind": "adapter-x", "rank": 8, "dropout": 0.0, "routing": "dense"},
    {"kind": "adaptformer-x", "rank": 8, "dropout": 0.0, "shared": False},
    {"kind": "vpt", "prompts": 3},
    {"kind": "vpt", "prompts": 3, "depth": "shallow"},
    {"kind": "idpt", "neighbours": 5, "layer": 1},
]


def made(method: dict[str, Any]) -> Tuned:
    config = parse_config({"backbone": SMALL, "method": method, "head": {"dropout": 0.0}})
    model = build(config, 5).model
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # away from the start, where updates are zero
        for _, parameter in model.trainable():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return model


@pytest.mark.parametrize("method", METHODS, ids=[f"{i}-{m['kind']}" for i, m in enumerate(METHODS)])
def test_equal_to_ours(method: dict[str, Any]) -> None:
    torch.manual_seed(0)
    points, labels = torch.randn(8, 96, 3), torch.tensor([0, 1, 2, 4, 3, 0, 1, 2])
    ours = made(method)
    reference = Reference(ours)
    for training in (False, True):
        ours.train(training)
        reference.train(training)
        expected, found = ours(points), reference(points)
        tolerance = 5e-5 if training else 1e-5  # a batch norm over 8 clouds enlarges what is left of rounding
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    penalty, theirs = ours.method.penalty(), reference.penalty
    loss = F.cross_entropy(expected, labels) + (0 if penalty is None else penalty)
    loss.backward()
    (F.cross_entropy(found, labels) + (0 if theirs is None else theirs)).backward()
    mine = dict(ours.trainable())
    other = dict(reference.model.trainable())
    assert mine.keys() == other.keys()
    assert {n for n, p in mine.items() if p.grad is None} == {n for n, p in other.items() if p.grad is None}
    # As one vector: what stands before a batch norm has a gradient of nothing but rounding. Where the tokenizer trains,
    # rounding also decides between all but equal points of a maximum.
    a, b = (torch.cat([p.grad.flatten() for p in each.values() if p.grad is not None]) for each in (mine, other))
    # Full fine-tuning trains through batch norms; where an expert is chosen, a rounding may choose another one.
    assert (b - a).norm() <= (1e-2 if method["kind"] in ("full", "dapt-x") else 1e-3) * a.norm()


def test_its_points_are_equal_to_ours() -> None:
    points = torch.randn(3, 200, 3, generator=torch.Generator().manual_seed(1))
    found = grouping.group(points, 20, 8)
    centres, index = group(points, 20, 8)
    assert torch.equal(centres, found.centre_index)
    assert torch.equal(index.sort(-1).values, found.index.sort(-1).values)
    assert torch.equal(farthest_points(points, 20), centres)


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("faithful", [False, True])
def test_a_step_changes_what_trains_and_nothing_else(faithful: bool) -> None:
    model = made({"kind": "dapt", "rank": 8})
    step = ReferenceStep(model, faithful=faithful)
    before = {name: parameter.clone() for name, parameter in step.reference.model.named_parameters()}
    loss = step(torch.randn(4, 96, 3), torch.tensor([0, 1, 2, 3]))
    assert loss.isfinite()
    moved = {name for name, p in step.reference.model.named_parameters() if not torch.equal(p, before[name])}
    trained = {name for name, _ in step.reference.model.trainable()}
    assert moved <= trained
    assert len(moved) > 0.9 * len(trained)


def test_a_method_without_reference_is_refused() -> None:
    with pytest.raises(UserError, match="no such method"):
        Reference(made({"kind": "prefix"}))
