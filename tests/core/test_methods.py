"""One battery of properties that every method keeps, whatever its table says."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from pointsmith.core.building import build, measure
from pointsmith.core.config import choices, parse_config
from pointsmith.core.models.load import load_backbone
from pointsmith.core.models.tuned import attach, detach
from tiny import BACKBONE, tiny_run

METHODS = sorted(choices("method"))
SMALL = {"idpt": {"neighbours": 4}}


def config_of(kind: str, **changes):
    return tiny_run({"kind": kind, **SMALL.get(kind, {})}, **changes)


def make(kind: str, **changes):
    built = build(config_of(kind, **changes), 5)
    randomise(built.model)
    return built.model


def randomise(model: torch.nn.Module) -> None:
    torch.manual_seed(1)
    with torch.no_grad():  # what starts at zero would hide mistakes
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
            if name.endswith("scale.bias"):  # the gate of the dynamic adapter, open for every token
                parameter.fill_(1.0)


def clouds(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 64, 3, generator=torch.Generator().manual_seed(seed))


def a_step(model: torch.nn.Module) -> None:
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    torch.nn.functional.cross_entropy(model(clouds()), torch.arange(4)).backward()
    optimizer.step()


@pytest.mark.parametrize("kind", METHODS)
def test_every_trainable_parameter_gets_a_gradient_and_nothing_else(kind: str) -> None:
    model = make(kind, backbone={**BACKBONE, "drop_path": 0.0}).train()
    torch.nn.functional.cross_entropy(model(clouds()), torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == parameter.requires_grad, name


@pytest.mark.parametrize("kind", METHODS)
def test_frozen_bytes_stay_and_release_restores_the_trunk(kind: str) -> None:
    config = config_of(kind)
    untouched = load_backbone(config.backbone, seed=config.seed, positions=config.method.positions).trunk
    before = {name: tensor.clone() for name, tensor in untouched.state_dict().items()}
    answer = untouched.eval()(clouds())
    model = make(kind)
    a_step(model)
    kept = model.kept_names
    for name, tensor in model.trunk.state_dict().items():
        assert torch.equal(tensor, before[name]) or name in kept, name
    trunk = model.release().eval()
    assert {name: True for name in before} == {n: torch.equal(t, before[n]) for n, t in trunk.state_dict().items()}
    assert torch.equal(trunk(clouds()), answer)


@pytest.mark.parametrize("kind", METHODS)
def test_the_adapter_of_a_trained_model_makes_an_equal_one(kind: str) -> None:
    model = make(kind)
    a_step(model)
    state = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
    other = build(config_of(kind), 5).model
    other.load_adapter(state)
    assert torch.equal(other.eval()(clouds(1)), model.eval()(clouds(1)))


@pytest.mark.parametrize("kind", METHODS)
def test_copies_are_independent(kind: str) -> None:
    model = make(kind).eval()
    before = model(clouds())
    other = copy.deepcopy(model)
    assert torch.equal(other(clouds()), before)
    a_step(other)
    assert torch.equal(model.eval()(clouds()), before)
    assert not torch.equal(other.eval()(clouds()), before)


@pytest.mark.parametrize("kind", METHODS)
def test_every_row_of_the_table_names_an_operation_and_runs_once(kind: str) -> None:
    model = make(kind)
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
    model.eval()(clouds())
    assert set(calls.values()) <= {1}


@pytest.mark.parametrize("kind", METHODS)
def test_recomputed_blocks_give_the_same_gradients_and_statistics(kind: str) -> None:
    found = []
    for recomputed in (False, True):
        model = make(kind).train()
        if recomputed:
            model.recompute()
        torch.manual_seed(3)  # drop path and dropout
        loss = torch.nn.functional.cross_entropy(model(clouds()), torch.arange(4))
        penalty = model.method.penalty()
        (loss if penalty is None else loss + penalty).backward()
        found.append(({n: p.grad for n, p in model.trainable()}, dict(model.named_buffers())))
    (plain, buffers), (again, buffers_again) = found
    for name in plain:
        assert torch.allclose(plain[name], again[name], rtol=1e-4, atol=1e-7), name
    assert all(torch.equal(buffers[name], buffers_again[name]) for name in buffers)


@pytest.mark.slow
def test_methods_compiled_one_after_another_on_one_trunk_answer_as_uncompiled() -> None:
    """What a compiler guards on must include the deltas: a stale graph would answer for the previous method."""
    torch._dynamo.reset()
    trunk = load_backbone(config_of("probe").backbone, seed=0).trunk.eval()
    compiled = torch.compile(trunk.encode, backend="eager", dynamic=False)
    grouped = trunk.group(clouds())
    with torch._dynamo.config.patch(recompile_limit=1000, accumulated_recompile_limit=1000), torch.no_grad():
        for kind in [*METHODS, *reversed(METHODS)]:
            method = config_of(kind).method.build(trunk.shape)
            randomise(method)
            for operation, delta in method.attachments():
                attach(trunk.get_submodule(operation), delta)
            method.eval()
            assert torch.allclose(compiled(*grouped), trunk.encode(*grouped), atol=1e-5), kind
            for module in trunk.modules():
                detach(module)
    torch._dynamo.reset()


@pytest.mark.parametrize("batchnorm", ["paper", "frozen"])
def test_batch_norm_drifts_only_where_asked_and_is_saved_then(batchnorm: str) -> None:
    model = make("probe", batchnorm=batchnorm)
    before = model.trunk.patch_embed.local[1].running_mean.clone()
    a_step(model)
    moved = not torch.equal(model.trunk.patch_embed.local[1].running_mean, before)
    saved = "trunk.patch_embed.local.1.running_mean" in model.adapter_state()
    assert moved == saved == (batchnorm == "paper")


@pytest.mark.parametrize(
    ("recipe", "method", "parts", "classes", "count"),
    [
        ("scan_hardest", {"kind": "dapt", "rank": 64}, None, 15, 1_087_771),
        ("scan_objbg", {"kind": "dapt", "rank": 64, "dropout": 0.5}, None, 15, 1_087_771),
        ("scan_objonly", {"kind": "dapt", "rank": 64}, ["cls", "prompt-mean"], 15, 989_467),
        ("modelnet", {"kind": "dapt", "rank": 72}, ["cls", "patch-max"], 40, 1_069_716),
        ("adapter", {"kind": "adapter"}, None, 15, 862_735),
        ("adapter, Houlsby", {"kind": "adapter", "places": "both", "rank": 32}, None, 15, 867_343),
        ("adaptformer", {"kind": "adaptformer"}, None, 15, 862_735),
        ("lora", {"kind": "lora"}, None, 15, 857_359),
        ("lora, fused", {"kind": "lora", "targets": ["qkv"]}, None, 15, 857_359),
        ("bitfit", {"kind": "bitfit"}, None, 15, 304_399),
        ("bitfit everywhere", {"kind": "bitfit", "where": "all"}, None, 15, 307_215),
        ("vpt-deep", {"kind": "vpt"}, None, 15, 360_463),
        ("ssf", {"kind": "ssf"}, None, 15, 368_911),
        ("ssf with ends", {"kind": "ssf", "ends": True}, None, 15, 370_447),
        ("prefix", {"kind": "prefix", "length": 48}, None, 15, 709_903),
        ("idpt hardest", {"kind": "idpt"}, None, 15, 1_696_783),
        ("idpt objbg", {"kind": "idpt"}, ["prompt-max"], 15, 1_500_175),
        ("idpt modelnet", {"kind": "idpt"}, None, 40, 1_703_208),
        ("dapt-x", {"kind": "dapt-x"}, None, 15, 418_067),
        ("dapt-x ablation", {"kind": "dapt-x", "rank": 64, "tfts": True}, None, 15, 558_099),
        ("dapt-x unshared", {"kind": "dapt-x", "rank": 64, "tfts": True, "shared": False}, None, 15, 1_397_311),
        ("dapt-x sharing only", {"kind": "dapt-x", "rank": 64}, None, 15, 455_187),
        ("full", {"kind": "full"}, None, 15, 22_093_327),
        ("probe", {"kind": "probe"}, None, 15, 267_535),
        ("probe with class token", {"kind": "probe", "train_cls": True}, None, 15, 268_303),
    ],
)
def test_published_counts(recipe: str, method: dict, parts: list | None, classes: int, count: int) -> None:
    config = parse_config(
        {"backbone": {"kind": "point-mae", "weights": "random"}, "method": method, "head": {"parts": parts}}
    )
    sizes = measure(config, classes)
    assert sizes.trainable == count, recipe
    if recipe == "scan_hardest":
        assert sizes.adapter_bytes <= 5_000_000


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("weights", ["random", "included"])
def test_measured_sizes_are_those_of_the_model(kind: str, weights: str) -> None:
    config = config_of(kind, backbone={**BACKBONE, "weights": weights})
    assert measure(config, 5) == build(config, 5).sizes


def test_the_same_seed_builds_the_same_model() -> None:
    one, two = (build(tiny_run(), 5).model.state_dict() for _ in range(2))
    other = build(tiny_run(seed=3), 5).model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert json.dumps(sorted(one)) == json.dumps(sorted(other))
