"""The fast path computes what the plain one does: every method on every kind of backbone, and each kernel by itself."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pointsmith.core.bench.harness import Options
from pointsmith.core.bench.registry import run
from pointsmith.core.building import build
from pointsmith.core.config import choices, parse_config
from pointsmith.core.data.procedural import make_split
from pointsmith.core.fast import multiply as multiplying
from pointsmith.core.fast import tokenizer
from pointsmith.core.fast.accelerate import accelerate, plain
from pointsmith.core.fast.attention import HalfAttention
from pointsmith.core.fast.linear import FrozenLinear
from pointsmith.core.fast.norm import Norm
from pointsmith.core.fast.sums import column_sums
from pointsmith.core.fast.tokenizer import FrozenEmbed
from pointsmith.core.models.patch_embed import PatchEmbed
from pointsmith.core.models.transformer import Attention
from pointsmith.core.models.tuned import attach, tuned
from pointsmith.core.peft.scale_shift import ScaleShift
from pointsmith.core.peft.tuned_model import Tuned
from pointsmith.core.training.stepping import computing_in

from tests.support.methods import METHODS, PAIRS, Pair, config_of, inputs_of, randomise, see

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path))
    monkeypatch.setattr(multiplying, "_measured", lambda: "onednn")  # the library that plain torch does not take


class InDouble:
    """The tokenizer's own code in float64: what torch's batch norm in float32 differs from by up to 1e-4."""

    def __call__(self, operation: PatchEmbed, groups: torch.Tensor) -> torch.Tensor:
        if groups.requires_grad or any(p.requires_grad for p in operation.parameters()):
            return operation(groups)
        return copy.deepcopy(operation).double()(groups.double()).float()


def models(pair: Pair, **changes) -> tuple[Tuned, Tuned]:
    """Return (the plain model, with its frozen tokenizer in float64; an equal one to be accelerated), training."""
    changes.setdefault("head", {"kind": "linear"})  # batch norms over four inputs would enlarge rounding
    method = {"dropout": 0.0} if "dropout" in choices("method")[pair[0]].model_fields else {}
    config = config_of(pair, dense=True, **changes)
    config = config.model_copy(update={"method": config.method.model_copy(update=method)})
    ours = build(config, 5).model.train()
    for module in ours.trunk.modules():  # as torch makes them: tokens that differ from each other
        if isinstance(module, torch.nn.Linear) and not module.weight.requires_grad:
            module.reset_parameters()
    randomise(ours)
    one = copy.deepcopy(ours)
    for name, _ in one.trunk.shape.embeds:
        if isinstance(operation := one.trunk.get_submodule(name), PatchEmbed):
            operation.kernel = InDouble()  # type: ignore[assignment]
    return one, ours


def gradients(model: Tuned, precision: str = "float32") -> tuple[torch.Tensor, torch.Tensor]:
    """Return (logits, all gradients in one row) of a training step."""
    torch.manual_seed(3)
    model.zero_grad()
    with computing_in(precision, CPU):
        logits = see(model).float()
        loss = F.cross_entropy(logits, torch.arange(4))
    penalty = model.method.penalty()
    (loss if penalty is None else loss + penalty).backward()
    return logits.detach(), torch.cat([p.grad.flatten() for _, p in model.trainable() if p.grad is not None])


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


@pytest.mark.parametrize("batchnorm", ["paper", "frozen"])
@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
def test_float32_gives_the_plain_logits_and_gradients(pair: Pair, batchnorm: str) -> None:
    one, other = models(pair, batchnorm=batchnorm, backbone={"drop_path": 0.2})
    accelerate(other, "float32", CPU)
    logits, expected = gradients(one)
    found_logits, found = gradients(other)
    assert apart(found_logits, logits) <= 1e-5
    assert apart(found, expected) <= 1e-5
    assert {n for n, p in one.trainable() if p.grad is None} == {n for n, p in other.trainable() if p.grad is None}


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[0] != "full"], ids=" on ".join)
def test_bf16_points_the_same_way(pair: Pair) -> None:
    """On random weights, where rounding decides between neighbours and maxima that are nearly equal."""
    one, other = models(pair, backbone={"drop_path": 0.0})
    accelerate(other, "bf16", CPU)
    _, expected = gradients(one)
    _, found = gradients(other, "bf16")
    # The gradient of IDPT's prompt passes batch norms that take most of it away and leave its rounding.
    assert likeness(found, expected) >= (0.95 if pair[0] == "idpt" else 0.98)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in METHODS if kind != "full"])
def test_bf16_on_a_trained_backbone(kind: str) -> None:
    clouds, labels, _ = make_split("train", 1, 1024, 0)
    fields = choices("method")[kind].model_fields
    fixed = {"dropout": 0.0, "routing": "dense"}
    method = {"kind": kind, **{name: value for name, value in fixed.items() if name in fields}}
    changes = {"backbone": {"kind": "demo", "drop_path": 0.0}, "method": method, "head": {"kind": "linear"}}
    model = build(parse_config(changes), 15).model.train()
    torch.manual_seed(1)
    with torch.no_grad():
        for _, parameter in model.trainable():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    found: list[torch.Tensor] = []
    for precision in ("float32", "bf16"):
        made = copy.deepcopy(model)
        if precision == "bf16":
            accelerate(made, precision, CPU)
        with computing_in(precision, CPU):
            loss = F.cross_entropy(made(torch.from_numpy(clouds)).float(), torch.from_numpy(labels))
        penalty = made.method.penalty()
        (loss if penalty is None else loss + penalty).backward()
        found.append(torch.cat([p.grad.flatten() for _, p in made.trainable() if p.grad is not None]))
    # IDPT's prompt hangs on which patches are nearest among features, and its gradient passes four batch norms: 0.96
    # with everything in float32 but the last block.
    assert likeness(found[1], found[0]) >= (0.9 if kind == "idpt" else 0.998)


def likeness(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the cosine between two gradients."""
    return float(F.cosine_similarity(a.double(), b.double(), dim=0))


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[0] in ("dapt", "lora", "ssf")], ids=" on ".join)
def test_plain_and_release_take_it_off_bit_for_bit(pair: Pair) -> None:
    _, model = models(pair)
    model.eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = see(model)
    accelerate(model, "float32", CPU)
    assert state.keys() == model.state_dict().keys()
    assert any("kernel" in module.__dict__ for module in model.trunk.modules())
    accelerate(model, "float32", CPU)  # again: a row is not taken in twice
    assert apart(see(model), before) <= 1e-5
    plain(model)
    assert torch.equal(see(model), before)
    accelerate(model, "float32", CPU)
    trunk = model.release().eval()
    assert not any({"kernel", "deltas"} & module.__dict__.keys() for module in trunk.modules())
    assert bool(trunk(inputs_of(trunk)).isfinite().all())


def test_an_accelerated_copy_is_independent_and_blocks_are_recomputed() -> None:
    _, model = models(("dapt", "point-transformer"))
    accelerate(model, "float32", CPU)
    other = copy.deepcopy(model)
    _, expected = gradients(model)
    with torch.no_grad():
        for _, parameter in model.trainable():
            parameter.zero_()
    other.recompute()
    _, found = gradients(other)
    assert apart(found, expected) <= 1e-6


def test_a_weight_that_is_filled_anew_is_seen() -> None:
    layer, x = torch.nn.Linear(8, 4).requires_grad_(False), torch.randn(3, 8)
    layer.kernel = FrozenLinear(torch.bfloat16, "torch")  # type: ignore[assignment]
    with computing_in("bf16", CPU), torch.no_grad():
        before = tuned(layer, x)
        layer.weight.mul_(2.0)
        layer.bias.mul_(2.0)
        assert torch.equal(tuned(layer, x), 2 * before)


@pytest.mark.parametrize("least", [1.0, 1e-4, 0.0])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_scale_and_shift_where_the_scale_is_small(least: float, bias: bool) -> None:
    layer, row = torch.nn.Linear(24, 16, bias=bias).requires_grad_(False), ScaleShift(16)
    x, weights = torch.randn(5, 40, 24, requires_grad=True), torch.randn(5, 40, 16)
    with torch.no_grad():
        row.gamma[3] = -least
    found: list[list[torch.Tensor]] = []
    for kernel in (None, FrozenLinear(torch.float32, "onednn", row)):
        y = tuned(layer, x) if kernel is None else kernel(layer, x)
        y = row(x, y) if kernel is None else y
        found.append([y, *torch.autograd.grad((y * weights).sum(), [x, row.gamma, row.beta])])
    for expected, got in zip(*found):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def made_tokenizer() -> PatchEmbed:
    torch.manual_seed(0)
    made = PatchEmbed(24, (16, 24, 32))
    with torch.no_grad():
        for norm in (made.local[1], made.merged[1]):
            norm.weight.normal_()  # of either sign
            norm.weight[2] = 0.0
            norm.bias.normal_()
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 2.0)
    return made.requires_grad_(False)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kept", [2**29, 0], ids=["features kept", "made again"])
def test_the_frozen_tokenizer_and_its_statistics(training: bool, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "_KEPT_BYTES", kept)
    one = made_tokenizer().train(training)
    other, exact = copy.deepcopy(one), copy.deepcopy(one).double()
    for _ in range(2):  # statistics move from where they were
        groups = 0.1 * torch.randn(3, 50, 20, 3) + 0.02
        expected = exact(groups.double())
        before = copy.deepcopy(other)
        assert apart(FrozenEmbed(torch.float32, "onednn")(other, groups).double(), expected) <= 1e-6
        with computing_in("bf16", CPU):
            half = FrozenEmbed(torch.bfloat16, "torch")(before, groups)
        assert 1e-4 < apart(half.double(), expected) <= 0.02
    for (name, found), wanted in zip(other.named_buffers(), exact.buffers()):
        torch.testing.assert_close(found.double(), wanted.double(), rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 3), (129, 40), (6000, 17)])
def test_sums_of_columns(shape: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(shape).to(dtype), torch.randn(shape[::-1]).to(dtype).t()  # any strides
    for answer in (lambda: 1, lambda: 3):
        monkeypatch.setattr(torch, "get_num_threads", answer)
        for found, expected in zip(column_sums(a, b), (a, a.double() * b.double())):
            torch.testing.assert_close(found.double(), expected.double().sum(dim=0), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("row", [False, True])
@pytest.mark.parametrize("width", [5, 40])
def test_a_norm_that_keeps_its_answer(width: int, row: bool, trains: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    norm, scale_shift = torch.nn.LayerNorm(width), ScaleShift(width) if row else None
    with torch.no_grad():
        norm.weight.normal_(1, 0.3)
        norm.bias.normal_(std=0.5)
        norm.weight[:3] = torch.tensor([0.0, 1e-9, -1e-4])  # whose answers say nothing of the input
    norm.requires_grad_(trains)
    x, weights = (5 + 3 * torch.randn(2, 2300, width)).requires_grad_(), torch.randn(2, 2300, width)
    learning = [x, *(norm.parameters() if trains else ()), *(scale_shift.parameters() if scale_shift else ())]
    for answer in (lambda: 1, lambda: 3):
        monkeypatch.setattr(torch, "get_num_threads", answer)
        found: list[list[torch.Tensor]] = []
        for dtype in (None, torch.float32, torch.bfloat16):
            with computing_in("float32" if dtype is None else "bf16", CPU):
                z = norm(x) if dtype is None else Norm(dtype, scale_shift)(norm, x)
                if dtype is None and scale_shift is not None:
                    z = scale_shift(None, z)
            assert z.dtype == (dtype or torch.float32)
            found.append([z, *torch.autograd.grad((z.float() * weights).sum(), learning)])
        for expected, exact, half in zip(*found):
            assert apart(exact, expected) <= 2e-6
            assert apart(half.float(), expected) <= 0.01


def test_a_norm_keeps_no_input() -> None:
    norm, x = torch.nn.LayerNorm(64).requires_grad_(False), torch.randn(500, 64, requires_grad=True)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        z = Norm(torch.float32)(norm, 1 * x)
    assert [one.data_ptr() for one in kept if one.numel() >= x.numel()] == [z.data_ptr()]


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("piece", [1, 2 * 2 * 9 * 9, 2**19])
def test_attention_in_bf16(seen: bool, prefix: bool, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsmith.core.fast.attention._SCORES", piece)
    torch.manual_seed(0)
    attention, x = Attention(24, 2, qkv_bias=True).bfloat16(), torch.randn(3, 7, 24).bfloat16().requires_grad_()
    mask = (torch.rand(3, 1, 7, 7) < 0.5) | torch.eye(7, dtype=torch.bool) if seen else None
    if prefix:
        attach(attention.heads, with_keys)
    found: list[list[torch.Tensor]] = []
    for way in (attention, lambda x, seen: HalfAttention()(attention, x, seen)):
        with computing_in("bf16", CPU):
            y = way(x, mask)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, attention.qkv.weight])])
    for expected, got in zip(*found):
        assert apart(got.float(), expected.float()) <= 0.02


def with_keys(qkv: torch.Tensor, heads: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    q, k, v = heads
    return q, torch.cat([k[:, :, :2] * 0.5, k], dim=2), torch.cat([v[:, :, :2] * 2, v], dim=2)


def test_the_library_is_chosen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert multiplying.fastest_library(CPU) == "onednn"
    monkeypatch.setattr(multiplying, "_measured", lambda: "torch")
    assert multiplying.fastest_library(CPU) == "onednn"  # as remembered


def test_both_libraries_can_be_measured_and_agree() -> None:
    x, weight, bias = torch.randn(2, 5, 8), torch.randn(6, 8), torch.randn(6)
    answers = [multiplying.multiply(x, weight, bias, library) for library in ("torch", "onednn")]
    torch.testing.assert_close(*answers)
    dx = [multiplying.multiply(answers[0], weight.t(), None, library) for library in ("torch", "onednn")]
    torch.testing.assert_close(*dx)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_the_benchmarks_find_equal_numbers() -> None:
    steps = run("step_cpu", Options(rounds=1, small=True))
    for row in steps.rows:
        told = dict(zip(steps.columns, row))
        if told["by"] == "pointsmith, float32":
            assert float(str(told["gradient error"])) <= 1e-5, told
        if told["by"] == "pointsmith, bf16":
            assert float(str(told["gradient cosine"])) >= 0.998, told
    tokens = run("tokenizer_cpu", Options(rounds=1, small=True))
    errors = {(row[0], row[1]): float(str(row[4])) for row in tokens.rows}
    assert errors["paper", "pointsmith, float32"] <= 1e-6
    assert errors["frozen", "pointsmith, float32"] <= 1e-6
