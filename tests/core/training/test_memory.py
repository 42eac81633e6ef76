"""Less memory, the same gradients: recomputation, two phases, and the choice between them from a budget."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from pointsmith.core.bench.harness import Options
from pointsmith.core.bench.mem_slope import Job as Step
from pointsmith.core.bench.mem_slope import Line, plot
from pointsmith.core.bench.registry import run as run_benchmark
from pointsmith.core.building import build
from pointsmith.core.config import RunConfig, choices, parse_config
from pointsmith.core.data.load import load
from pointsmith.core.errors import UserError
from pointsmith.core.fast.accelerate import accelerate
from pointsmith.core.models.point_transformer import PointTransformer
from pointsmith.core.models.transformer import DropPath
from pointsmith.core.training import train
from pointsmith.core.training.choice import Cost, DryRun, choose
from pointsmith.core.training.estimate import Job, estimate, estimate_in_child
from pointsmith.core.training.gradients import MODES, Gradients, Mode, Way
from pointsmith.core.training.memory import GIB, Live, most_taken, peak_bytes, restart_peak, taken_bytes
from pointsmith.core.training.task import ClassTask, PartTask, Task
from pointsmith.core.training.train import Trainer
from pointsmith.core.training.two_phase import obstacle
from torch import Tensor, nn

from tests.support.tiny import BACKBONE, BACKBONES, inputs_for, tiny_run

CPU = torch.device("cpu")
METHODS = sorted(choices("method"))
INSERTING = {"dapt", "idpt", "vpt", "noah"}
PAIRS = [(kind, place) for place in BACKBONES for kind in METHODS if place != "point-m2ae" or kind not in INSERTING]
REFUSED = {("idpt", "point-transformer"), ("idpt", "vit")} | {("full", "point-transformer")}
PARTS = (("seat", "leg", "back"), ("wing", "body"))


def config_of(kind: str, place: str = "point-transformer", **changes: Any) -> RunConfig:
    method: dict[str, Any] = {"kind": kind, **({"neighbours": 4} if kind == "idpt" else {})}
    fields = choices("method")[kind].model_fields
    if "routing" in fields:
        method |= {"balance": 1.0, **({"prompts": "none"} if place == "point-m2ae" else {})}
    if place == "point-m2ae":
        changes.setdefault("batchnorm", "frozen")  # its later stages embed with batch norms, on what has gradients
    return tiny_run(method, **{"backbone": BACKBONES[place], **changes})


def gradients_of(config: RunConfig, still: bool = True, parts: bool = False) -> Gradients:
    """The model of a run in training mode, none of its weights zero; `still`: nothing in it is random."""
    model = build(config, 2 if parts else 5, sum(map(len, PARTS)) if parts else 0).model.train()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
            if name.endswith("scale.bias"):
                parameter.fill_(1.0)
    for module in model.modules() if still else ():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, DropPath):
            module.rate = 0.0
    task: Task = PartTask(PARTS) if parts else ClassTask(5)
    return Gradients(model, task, "float32", CPU)


def learn(made: Gradients, way: Way, inputs: Tensor, labels: Tensor) -> tuple[float, float, dict[str, Tensor]]:
    torch.manual_seed(3)
    assert made.take(way) == ""
    loss, metric = made.of(inputs, labels)
    found = {name: p.grad.clone() for name, p in made.model.trainable() if p.grad is not None}
    return float(loss), float(metric), found | {name: buffer.clone() for name, buffer in made.model.named_buffers()}


def difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The distance of all gradients and statistics together, over their size."""
    assert set(found) == set(wanted)
    pairs = [(found[name].double().flatten(), one.double().flatten()) for name, one in wanted.items()]
    one, other = (torch.cat(column) for column in zip(*pairs))
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair not in REFUSED], ids=" on ".join)
def test_two_phases_leave_the_gradients_and_statistics_of_one_pass(pair: tuple[str, str]) -> None:
    config = config_of(*pair)
    inputs, labels = inputs_for(config.backbone, 10), torch.arange(10) % 5
    whole = learn(gradients_of(config), Way("fast"), inputs, labels)
    for slices in (2, 3):
        cut = learn(gradients_of(config), Way("two-phase", slices), inputs, labels)
        assert cut[0] == pytest.approx(whole[0], rel=1e-5) and cut[1] == whole[1]
        assert difference(cut[2], whole[2]) < 1e-5


@pytest.mark.parametrize("kind", [kind for kind in METHODS if kind not in ("idpt", "full")])
def test_in_double_precision_every_single_gradient_is_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding taken away: a gradient that is nearly nothing, as before a batch norm, must be so both times."""
    config = config_of(kind)
    group = PointTransformer.group
    monkeypatch.setattr(PointTransformer, "group", lambda *given: tuple(one.double() for one in group(*given)))
    inputs, labels = inputs_for(config.backbone, 10).double(), torch.arange(10) % 5
    found = []
    for way in (Way("fast"), Way("two-phase", 3)):
        made = gradients_of(config)
        made.model.double()
        found.append(learn(made, way, inputs, labels)[2])
    for name, one in found[0].items():
        # the router answers in float32 whatever it is asked in
        loose = "-x" in kind
        torch.testing.assert_close(found[1][name], one, rtol=1e-4 if loose else 1e-8, atol=1e-6 if loose else 1e-12)


@pytest.mark.parametrize("kind", ["dapt", "dapt-x", "lora", "noah", "vpt"])
def test_two_phases_segment_too(kind: str) -> None:
    data = {"kind": "parts", "path": "parts", "preparation": {"points": 64}, "validation": 0.25}
    config = config_of(kind, data=data)
    points = inputs_for(config.backbone, 6)
    inputs, labels = torch.cat([points, torch.randint(0, 3, (6, 64, 1)).float()], dim=-1), torch.arange(6) % 2
    whole, cut = (
        learn(gradients_of(config, parts=True), way, inputs, labels) for way in (Way("fast"), Way("two-phase", 3))
    )
    assert cut[0] == pytest.approx(whole[0], rel=1e-5) and cut[1] == pytest.approx(whole[1])
    assert difference(cut[2], whole[2]) < 1e-5


@pytest.mark.parametrize("kind", ["dapt", "adaptformer-x", "noah"])
def test_both_phases_drop_the_same(kind: str) -> None:
    """With dropout and drop path: the gradients are those of all slices in one graph, drawn slice by slice."""
    config = config_of(kind, backbone={**BACKBONE, "drop_path": 0.4}, batchnorm="frozen")
    inputs, labels = inputs_for(config.backbone, 9), torch.arange(9) % 5
    made = gradients_of(config, still=False)
    cut = learn(made, Way("two-phase", 3), inputs, labels)
    wanted = gradients_of(config, still=False)
    torch.manual_seed(3)
    prepared = wanted.model.trunk.prepare(inputs)
    terms, features = [], []
    for part in zip(*(one.tensor_split(3) for one in prepared)):
        features.append(wanted.model.features(*part)[0])
        if (penalty := wanted.model.method.penalty()) is not None:
            terms.append(penalty)
    loss = nn.functional.cross_entropy(wanted.model.answer((torch.cat(features),), inputs), labels)
    assert cut[0] == pytest.approx(loss.item(), rel=1e-6)
    if not terms:
        loss.backward()
        learnt = {name: p.grad for name, p in wanted.model.trainable() if p.grad is not None}
        assert difference({name: cut[2][name] for name in learnt}, learnt) < 1e-5


@pytest.mark.parametrize(("pair", "why"), [(pair, "batch norm") for pair in sorted(REFUSED)], ids=str)
def test_where_two_phases_would_not_be_exact_blocks_are_recomputed_and_it_is_said(
    pair: tuple[str, str], why: str
) -> None:
    made = gradients_of(config_of(*pair))
    assert why in obstacle(made.model) and "recomputed instead" in made.take(Way("two-phase", 2))
    assert made.way == Way("recompute")
    if pair[0] == "full":
        assert obstacle(gradients_of(config_of(*pair, batchnorm="frozen")).model) == ""


def test_a_hierarchy_with_the_papers_batch_norms_is_not_cut() -> None:
    assert "between blocks" in obstacle(gradients_of(config_of("lora", "point-m2ae", batchnorm="paper")).model)


@pytest.mark.parametrize("mode", ["recompute-mlp", "recompute"])
@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
def test_recomputing_leaves_the_very_gradients(pair: tuple[str, str], mode: Mode) -> None:
    config = config_of(*pair)
    inputs, labels = inputs_for(config.backbone, 4), torch.arange(4)
    plain, again = (learn(gradients_of(config, still=False), way, inputs, labels) for way in (Way("fast"), Way(mode)))
    assert again[0] == plain[0] and difference(again[2], plain[2]) < 1e-6


def dry_run(config: RunConfig) -> DryRun:
    trainer = Trainer(config, Path("nowhere"), load(config.data), CPU)
    return DryRun(trainer.gradients, trainer._first_inputs)


BIG = {**BACKBONE, "dim": 48, "depth": 4, "groups": 32}


def test_each_mode_takes_less_than_the_one_before_and_two_phases_hardly_grow() -> None:
    dry = dry_run(tiny_run({"kind": "adaptformer-x", "rank": 4}, backbone=BIG))
    costs = {mode: dry.cost(mode) for mode in MODES}
    slopes = [costs[mode].per_input for mode in MODES]
    assert slopes == sorted(slopes, reverse=True)
    assert costs["two-phase"].per_input < 0.1 * costs["fast"].per_input
    for mode, way in (("fast", Way("fast")), ("recompute", Way("recompute")), ("two-phase", Way("two-phase", 4))):
        assert costs[mode].of(16, way.pieces, mode) == pytest.approx(dry.peak(way, 16), rel=0.15)


def test_a_dry_run_leaves_nothing_behind() -> None:
    dry = dry_run(tiny_run())
    model = dry.gradients.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    dry.cost("two-phase")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters()) and dry.gradients.way == Way("fast")


def test_the_fastest_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_run({"kind": "adaptformer-x", "rank": 4}, backbone=BIG, memory_budget=1.0, batch_size=16)
    dry = dry_run(config)
    found = []
    for mode in MODES:
        enough = dry.cost(mode).of(16, 8 if mode == "two-phase" else 1, mode) * 1.16
        monkeypatch.setattr("pointsmith.core.training.choice.taken_bytes", lambda _, much=enough: GIB - much)
        way, why, trouble = choose(config, dry, 16)
        found.append(way.mode)
        assert not trouble and (mode == "fast" or f"`{mode}`" in why)
    assert found == list(MODES)
    monkeypatch.setattr("pointsmith.core.training.choice.taken_bytes", lambda _: GIB)
    way, _, trouble = choose(config, dry, 16)
    assert way.mode == "two-phase" and "No way to train in batches of 16 fits" in trouble


def numbers(events: list[Any]) -> list[tuple[Any, ...]]:
    return [(e.step, e.epoch, e.loss, e.lr, e.grad_norm) for e in events if e.kind == "step"]


@pytest.mark.parametrize("changes", [{"memory": "two-phase", "accumulate": 3}, {"memory_budget": 1e-6}], ids=str)
def test_a_resumed_run_goes_the_way_that_it_began(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run({"kind": "adaptformer-x", "rank": 4}, **changes)
    whole = list(train(config, tmp_path / "whole", device="cpu"))
    plan = next(event for event in whole if event.kind == "plan")
    assert plan.memory.startswith("two-phase")
    asked = count()
    first = list(train(config, tmp_path / "cut", device="cpu", stop=lambda: next(asked) > 6))
    assert first[-1].kind == "interrupted"
    monkeypatch.setattr("pointsmith.core.training.choice.taken_bytes", lambda _: -(10**12))  # now all would fit
    second = list(train(config, tmp_path / "cut", device="cpu"))
    assert numbers(first) + numbers(second) == numbers(whole)
    adapter = tmp_path / "cut" / "adapter"
    assert f"`memory: {plan.memory}`" in (adapter / "README.md").read_text()
    told = json.loads((adapter / "adapter_config.json").read_text())["metrics"]
    assert told["memory"] == plan.memory and told["peak_memory_bytes"] > 10**7


def test_a_checkpoint_from_before_there_was_a_choice_goes_on(tmp_path: Path) -> None:
    asked = count()
    list(train(tiny_run(), tmp_path, device="cpu", stop=lambda: next(asked) > 6))
    path = tmp_path / "checkpoint" / "latest.json"
    state = json.loads(path.read_text())
    state["config"] = json.dumps({k: v for k, v in json.loads(state["config"]).items() if not k.startswith("memory")})
    del state["memory"]
    path.write_text(json.dumps(state))
    assert list(train(tiny_run(), tmp_path, device="cpu"))[-1].kind == "finished"


def test_old_settings_mean_what_they_did() -> None:
    old = parse_config({"recompute": True, "accumulate": 2})
    assert (old.memory, old.recompute, old.accumulate) == ("auto", True, 2)
    trainer = Trainer(tiny_run(recompute=True), Path("nowhere"), load(tiny_run().data), CPU)
    assert trainer.gradients.way == Way("recompute") and trainer.model.trunk.recomputed


def test_live_tensors_are_counted_once_and_until_they_are_freed() -> None:
    there = torch.zeros(1000)
    with Live() as live:
        one = torch.ones(1000)
        _ = one.view(10, 100), there.view(10, 100)
        two = one + 1
        assert live.now == 8000
        del two
        three = one * 2
        assert live.now == 8000 and live.peak == 8000
        del one, three, _
    assert live.now == 0 and live.peak == 8000
    assert most_taken(lambda: torch.empty(500).add(1), CPU) == 4000


def test_the_peak_can_be_counted_anew() -> None:
    torch.ones(40_000_000).sum()
    high = peak_bytes(CPU)
    restart_peak(CPU)
    assert taken_bytes(CPU) // 2 < peak_bytes(CPU) < high - 100_000_000


def test_cost_is_what_is_kept_at_once() -> None:
    assert Cost(10, 2).of(9, 2, "fast") == 20
    assert Cost(10, 2, 3).of(9, 2, "two-phase") == 10 + 18 + 15


def test_an_estimate_tells_the_batch_that_fits() -> None:
    budget = taken_bytes(CPU) / GIB + 0.05
    run = tiny_run({"kind": "adaptformer-x", "rank": 4}, backbone=BIG, memory_budget=budget)
    found = estimate(Job(run=run, classes=5, inputs=60, device="cpu"))
    assert [one.mode for one in found.modes] == list(MODES)
    fast, slices = found.modes[0], found.modes[-1]
    assert found.chosen == "fast" and fast.peak_bytes > found.base_bytes > 10**7
    assert found.base_bytes + found.allowed_bytes == pytest.approx(budget * GIB, rel=0.05)
    assert 16 < fast.largest_batch < slices.largest_batch <= 4096
    assert fast.seconds_per_step and found.steps == 3 * 7
    assert found.total_seconds == pytest.approx(21 * fast.seconds_per_step)


def test_an_estimate_says_what_is_not_exact_and_counts_known_data() -> None:
    found = estimate(Job(run=tiny_run({"kind": "idpt", "neighbours": 4}), device="cpu"))
    assert [one.mode for one in found.modes] == list(MODES[:-1]) and "not exact" in found.notes[-1]
    assert found.steps == 3 * (45 // 8)


def test_a_child_answers_and_refuses() -> None:
    found = estimate_in_child(Job(run=tiny_run(), device="cpu"))
    assert found.chosen == "fast" and found.base_bytes > 10**7
    with pytest.raises(UserError, match="no such GPU"):
        estimate_in_child(Job(run=tiny_run(), device="cuda:99"))


@pytest.mark.slow
def test_the_benchmark_runs_in_children(tmp_path: Path) -> None:
    report = run_benchmark("mem_slope", Options(small=True))
    assert [row[1] for row in report.rows][1:] == ["published code's way, float32", "pointsmith two-phase, float32"]


def test_lines_are_straight_and_drawn(tmp_path: Path) -> None:
    line = Line(Step("smoa", "fast", "bf16", 0), (16, 48), (100, 420))
    assert line.slope == 10 and line.at(512) == 100 + 496 * 10
    plot([line], tmp_path / "memory.svg")
    assert "smoa: pointsmith fast, bf16" in (tmp_path / "memory.svg").read_text()


def test_copies_of_weights_are_not_taken_for_a_steps_memory() -> None:
    costs = []
    for _ in range(2):  # the first measurement is as good as one after others
        dry = dry_run(tiny_run({"kind": "adaptformer-x", "rank": 4}, backbone=BIG, precision="bf16"))
        if costs:
            dry.cost("recompute")
        costs.append(dry.cost("fast"))
    assert costs[0] == costs[1] and costs[0].per_input > 0


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("kind", ["dapt", "adaptformer-x", "lora"])
def test_all_ways_are_equal_on_the_fast_path_too(kind: str, precision: str) -> None:
    config = config_of(kind)
    inputs, labels = inputs_for(config.backbone, 10), torch.arange(10) % 5
    found = {}
    for mode in MODES:
        made = gradients_of(config)
        made.precision = precision
        accelerate(made.model, precision, CPU)
        found[mode] = learn(made, Way(mode, 2 if mode == "two-phase" else 1), inputs, labels)[2]
    for mode in MODES[1:]:
        assert difference(found[mode], found["fast"]) < (1e-5 if precision == "float32" else 0.05), mode


def test_what_is_missing_is_said_before_the_data_are_read(tmp_path: Path) -> None:
    config = tiny_run(backbone={**BACKBONE, "weights": str(tmp_path / "nothing.safetensors")})
    events = train(config, tmp_path, device="cpu")
    with pytest.raises(UserError, match="weight file does not exist"):
        next(events)
    with pytest.raises(UserError, match="no such GPU"):
        next(train(tiny_run(), tmp_path, device="cuda:99"))
