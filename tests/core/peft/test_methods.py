"""One battery of properties that every method keeps, whatever its table says."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from pointsmith.core.building import build, measure
from pointsmith.core.errors import UserError
from pointsmith.core.models.load import load_backbone
from pointsmith.core.models.point_transformer import PointTransformer
from pointsmith.core.models.tuned import attach, detach
from pointsmith.core.peft.tuned_model import Tuned
from torch._dynamo.testing import CompileCounter

from tests.support.methods import INSERTING, METHODS, PAIRS, Pair, config_of, inputs_of, randomise, see
from tests.support.tiny import BACKBONES, tiny_run


def make(pair: Pair, **changes):
    built = build(config_of(pair, **changes), 5)
    randomise(built.model)
    return built.model


def loss_of(model: Tuned) -> torch.Tensor:
    loss = torch.nn.functional.cross_entropy(see(model), torch.arange(4))
    penalty = model.method.penalty()
    return loss if penalty is None else loss + penalty


def a_step(model: Tuned) -> None:
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    loss_of(model).backward()
    optimizer.step()


@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
def test_every_trainable_parameter_gets_a_gradient_and_nothing_else(pair: Pair) -> None:
    model = make(pair, dense=True, backbone={"drop_path": 0.0}).train()  # top-1 may leave an expert without tokens
    loss_of(model).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == parameter.requires_grad, name


@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
def test_frozen_bytes_stay_and_release_restores_the_trunk(pair: Pair) -> None:
    config = config_of(pair)
    untouched = load_backbone(config.backbone, seed=config.seed, positions=config.method.positions).trunk
    before = {name: tensor.clone() for name, tensor in untouched.state_dict().items()}
    answer = untouched.eval()(inputs_of(untouched))
    model = make(pair)
    a_step(model)
    kept = model.kept_names
    for name, tensor in model.trunk.state_dict().items():
        assert torch.equal(tensor, before[name]) or name in kept, name
    trunk = model.release().eval()
    assert {name: True for name in before} == {n: torch.equal(t, before[n]) for n, t in trunk.state_dict().items()}
    assert torch.equal(trunk(inputs_of(trunk)), answer)


@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
def test_the_adapter_of_a_trained_model_makes_an_equal_one(pair: Pair) -> None:
    model = make(pair)
    a_step(model)
    state = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
    other = build(config_of(pair), 5).model
    other.load_adapter(state)
    assert torch.equal(see(other.eval(), 1), see(model.eval(), 1))


@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
def test_copies_are_independent(pair: Pair) -> None:
    model = make(pair).eval()
    before = see(model)
    other = copy.deepcopy(model)
    assert torch.equal(see(other), before)
    a_step(other)
    assert torch.equal(see(model.eval()), before)
    assert not torch.equal(see(other.eval()), before)


@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
def test_every_row_of_the_table_names_an_operation_and_runs_once(pair: Pair) -> None:
    model = make(pair)
    rows = [(name, delta) for name, delta in model.method.attachments()]
    calls = dict.fromkeys(range(len(rows)), 0)

    def counted(number: int, delta):
        def run(x, y):
            calls[number] += 1
            return delta(x, y)

        return run

    for module in model.trunk.modules():
        detach(module)
    for number, (name, delta) in enumerate(rows):
        operation = model.trunk.get_submodule(name)
        operation.deltas = (*getattr(operation, "deltas", ()), counted(number, delta))
    see(model.eval())
    assert set(calls.values()) <= {1}


@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
def test_recomputed_blocks_give_the_same_gradients_and_statistics(pair: Pair) -> None:
    found = []
    for recomputed in (False, True):
        model = make(pair).train()
        if recomputed:
            model.recompute()
        torch.manual_seed(3)  # drop path and dropout
        loss_of(model).backward()
        found.append(({n: p.grad for n, p in model.trainable()}, dict(model.named_buffers())))
    (plain, buffers), (again, buffers_again) = found
    for name in plain:
        assert torch.allclose(plain[name], again[name], rtol=1e-4, atol=1e-7), name
    assert all(torch.equal(buffers[name], buffers_again[name]) for name in buffers)


@pytest.mark.slow
def test_methods_compiled_one_after_another_on_one_trunk_answer_as_uncompiled() -> None:
    """What a compiler guards on must include the deltas: a stale graph would answer for the previous method."""
    torch._dynamo.reset()
    trunk = load_backbone(config_of(("probe", "point-transformer")).backbone, seed=0).trunk.eval()
    assert isinstance(trunk, PointTransformer)
    counter = CompileCounter()
    compiled = torch.compile(trunk.encode, backend=counter, dynamic=False)
    grouped = trunk.group(inputs_of(trunk))
    with torch._dynamo.config.patch(recompile_limit=1000, accumulated_recompile_limit=1000), torch.no_grad():
        for kind in [*METHODS, *reversed(METHODS)]:
            method = config_of((kind, "point-transformer")).method.build(trunk.shape)
            randomise(method)
            for operation, delta in method.attachments():
                attach(trunk.get_submodule(operation), delta)
            method.eval()
            assert torch.allclose(compiled(*grouped), trunk.encode(*grouped), atol=1e-5), kind
            for module in trunk.modules():
                detach(module)
    assert counter.frame_count >= len(METHODS)  # it did compile, each time anew
    torch._dynamo.reset()


@pytest.mark.parametrize("batchnorm", ["paper", "frozen"])
def test_batch_norm_drifts_only_where_asked_and_is_saved_then(batchnorm: str) -> None:
    model = make(("probe", "point-transformer"), batchnorm=batchnorm)
    before = model.trunk.patch_embed.local[1].running_mean.clone()
    a_step(model)
    moved = not torch.equal(model.trunk.patch_embed.local[1].running_mean, before)
    saved = "trunk.patch_embed.local.1.running_mean" in model.adapter_state()
    assert moved == saved == (batchnorm == "paper")


@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
@pytest.mark.parametrize("weights", ["random", "included"])
def test_measured_sizes_are_those_of_the_model(pair: Pair, weights: str) -> None:
    config = config_of(pair, backbone={"weights": weights})
    assert measure(config, 5) == build(config, 5).sizes


def test_the_same_seed_builds_the_same_model() -> None:
    one, two = (build(tiny_run(), 5).model.state_dict() for _ in range(2))
    other = build(tiny_run(seed=3), 5).model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert json.dumps(sorted(one)) == json.dumps(sorted(other))


@pytest.mark.parametrize("kind", sorted(INSERTING | {"dapt-x", "adapter-x", "adaptformer-x"}))
def test_what_cannot_work_is_refused_when_the_run_is_configured(kind: str) -> None:
    with pytest.raises(UserError, match="inserts prompts") as caught:
        tiny_run({"kind": kind}, backbone=BACKBONES["point-m2ae"])
    assert "Point-M2AE" in str(caught.value)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"kind": "dapt-x", "heads": 5}, "cannot be cut"),
        ({"kind": "idpt", "neighbours": 9}, "exceeds the patches"),
        ({"kind": "idpt", "neighbours": 4, "layer": 2}, "not a block"),
    ],
)
def test_settings_that_do_not_fit_the_backbone_are_refused(method: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        tiny_run(method)
