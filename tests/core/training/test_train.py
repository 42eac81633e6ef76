"""The trainer: curves, resuming, choosing, stopping, diverging."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pointsmith.core.config import OptimConfig
from pointsmith.core.errors import Diverged, UserError
from pointsmith.core.events import Note, Plan
from pointsmith.core.predict import Predictor
from pointsmith.core.training import device, train
from pointsmith.core.training.optimizer import decays
from pointsmith.core.training.schedule import learning_rate
from safetensors.torch import load_file

from tests.support.curves import curve
from tests.support.tiny import tiny_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, list(train(tiny_run(), folder, device="cpu"))


def test_a_run_tells_its_story_and_leaves_an_adapter(whole) -> None:
    folder, events = whole
    kinds = [event.kind for event in events]
    assert kinds.count("epoch") == 3 and kinds[-1] == "finished"
    plan, finished = events[kinds.index("plan")], events[-1]
    assert (plan.train_clouds, plan.validation_clouds, plan.test_clouds) == (45, 15, 30)
    assert finished.trainable == plan.trainable and finished.selected_on == "validation"
    scores = [event for event in events if event.kind == "scores"]
    assert [s.split for s in scores] == ["validation", "test"]
    assert sum(map(sum, scores[1].confusion)) == 30
    names = {path.name for path in (folder / "adapter").iterdir()}
    assert names == {"adapter_model.safetensors", "adapter_config.json", "config.json", "README.md"}


@pytest.mark.parametrize("stop_after", [2, 7, 11])
def test_a_resumed_run_has_the_very_numbers_of_an_uninterrupted_one(whole, tmp_path: Path, stop_after: int) -> None:
    asked = iter(range(10**6))
    first = list(train(tiny_run(), tmp_path, device="cpu", stop=lambda: next(asked) > stop_after))
    assert first[-1].kind == "interrupted"
    second = list(train(tiny_run(), tmp_path, device="cpu"))
    assert second[-1].kind == "finished"
    assert curve(first) + curve(second) == curve(whole[1])
    ours, theirs = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (tmp_path, whole[0]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_an_adapter_predicts_the_same_after_saving(whole) -> None:
    folder, events = whole
    test = next(e for e in events if e.kind == "scores" and e.split == "test")
    from pointsmith.core.data.load import load

    dataset = load(tiny_run().data)
    answers = Predictor.load(folder / "adapter").predict(list(dataset.test.points), raw=True)
    hits = sum(a.label == dataset.classes[label] for a, label in zip(answers, dataset.test.labels))
    assert hits / len(answers) == test.accuracy


def test_checkpoints_of_another_configuration_are_refused(whole) -> None:
    with pytest.raises(UserError, match="another configuration"):
        list(train(tiny_run(epochs=4), whole[0], device="cpu"))


def test_the_test_set_is_never_used_to_choose(tmp_path: Path) -> None:
    events = list(train(tiny_run(epochs=1), tmp_path, device="cpu"))
    assert all(event.test_accuracy is None for event in events if event.kind == "epoch")
    events = list(train(tiny_run(epochs=1, select="test"), tmp_path / "paper", device="cpu"))
    assert all(event.test_accuracy is not None for event in events if event.kind == "epoch")


def test_patience_ends_a_run_early(tmp_path: Path) -> None:
    quiet = {"lr": 1e-12, "warmup_lr": 1e-12, "min_lr": 0.0}
    changes = {"epochs": 9, "patience": 2, "optim": quiet, "augment": {"kind": "none"}}
    changes |= {"batchnorm": "frozen", "head": {"kind": "linear"}}  # the batch norms of another head would go on moving
    events = list(train(tiny_run({"kind": "probe"}, **changes), tmp_path, device="cpu"))
    assert events[-1].epochs < 9


def test_a_diverged_run_says_so_and_leaves_no_adapter(tmp_path: Path) -> None:
    wild = {"lr": 1.0, "warmup_epochs": 0, "clip": 1e9, "schedule": "constant", "weight_decay": 1.0}
    with pytest.raises(Diverged, match="diverged at step"):
        config = tiny_run({"kind": "full"}, optim=wild, epochs=200, head={"kind": "linear"}, augment={"kind": "none"})
        poisoned = config.model_copy(update={"augment": config.augment.model_copy(update={"kind": "scale-shift"})})
        poisoned = poisoned.model_copy(
            update={"augment": poisoned.augment.model_copy(update={"scale_min": 1e20, "scale_max": 1e25})}
        )
        list(train(poisoned, tmp_path, device="cpu"))
    assert not (tmp_path / "adapter").exists()


def test_bf16_trains_on_the_cpu_too(tmp_path: Path) -> None:
    events = list(train(tiny_run(epochs=1, precision="bf16"), tmp_path, device="cpu"))
    assert events[-1].kind == "finished"


def test_a_processor_without_bf16_computes_in_float32_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "computes_bf16", lambda: False)
    events = list(train(tiny_run(epochs=1, precision="bf16"), tmp_path, device="cpu"))
    assert [event.precision for event in events if isinstance(event, Plan)] == ["float32"]
    assert any(isinstance(event, Note) and "no units for bf16" in event.message for event in events)


def test_the_papers_schedule_to_the_digit() -> None:
    config = OptimConfig(lr=5e-4, schedule="paper", warmup_epochs=10)
    rates = [learning_rate(config, step=epoch * 7, steps_per_epoch=7, epochs=301) for epoch in range(301)]
    published = {0: 1e-6, 1: 1e-6, 2: 5.09e-5, 10: 4.501e-4, 11: 4.986e-4, 300: 1.01e-6}
    for epoch, rate in published.items():
        assert rates[epoch] == pytest.approx(rate, rel=5e-3), epoch
    assert max(rates) == rates[11]


def test_the_papers_decay_rule() -> None:
    matrix, vector = torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))
    token = torch.nn.Parameter(torch.zeros(1, 1, 2))
    assert decays("method.blocks.0.adapter.down.weight", matrix) and decays("trunk.cls_pos", token)
    assert not decays("trunk.cls_token", token) and not decays("method.embed.gamma", vector)
