"""A batch that goes through the model in parts: the same gradients, the same steps, resumable to the bit."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from pointsmith.core.config import RunConfig
from pointsmith.core.data.load import load
from pointsmith.core.errors import UserError
from pointsmith.core.training import train
from pointsmith.core.training.train import Trainer
from safetensors.torch import load_file

from tests.support.tiny import VIT, tiny_run

SMOOTH = {"kind": "adaptformer", "rank": 4, "dropout": 0.0}
"""A method without batch norm, dropout or a balance of experts."""


def gradients(config: RunConfig, folder: Path) -> tuple[float, float, dict[str, torch.Tensor]]:
    """The loss, the right answers and the gradients of one batch of 10, batch norms and dropout at rest."""
    trainer = Trainer(config, folder, load(config.data), torch.device("cpu"))
    trainer.model.eval()  # no batch statistics and no dropped paths: the only parts that see a batch or a die
    points = torch.from_numpy(trainer.dataset.train.points[:10])
    loss, correct = trainer._backward(points, torch.from_numpy(trainer.dataset.train.labels[:10]))
    return float(loss), float(correct), {name: p.grad for name, p in trainer.model.trainable() if p.grad is not None}


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_leave_the_gradients_of_the_whole(tmp_path: Path, parts: int) -> None:
    common: dict[str, Any] = {"batch_size": 10}
    whole = gradients(tiny_run(SMOOTH, **common), tmp_path)
    cut = gradients(tiny_run(SMOOTH, **common, accumulate=parts), tmp_path)
    assert cut[0] == pytest.approx(whole[0], rel=1e-6) and cut[1] == whole[1]
    assert set(cut[2]) == set(whole[2]) and len(whole[2]) > 4
    for name, gradient in whole[2].items():
        torch.testing.assert_close(cut[2][name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


def numbers(events: list[Any]) -> list[tuple[Any, ...]]:
    return [(e.step, e.epoch, e.loss, e.lr, e.grad_norm) for e in events if e.kind == "step"]


def test_the_steps_are_the_same_and_a_resumed_run_repeats_them_to_the_bit(tmp_path: Path) -> None:
    config = tiny_run({"kind": "dapt", "rank": 4}, accumulate=3)
    plain = list(train(tiny_run({"kind": "dapt", "rank": 4}), tmp_path / "plain", device="cpu"))
    whole = list(train(config, tmp_path / "whole", device="cpu"))
    assert [one[:2] + one[3:4] for one in numbers(whole)] == [one[:2] + one[3:4] for one in numbers(plain)]
    asked = count()
    first = list(train(config, tmp_path / "cut", device="cpu", stop=lambda: next(asked) > 6))
    assert first[-1].kind == "interrupted"
    second = list(train(config, tmp_path / "cut", device="cpu"))
    assert numbers(first) + numbers(second) == numbers(whole)
    ours, theirs = (load_file(tmp_path / one / "adapter" / "adapter_model.safetensors") for one in ("cut", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_penalty_counts_once(tmp_path: Path) -> None:
    """Adapter-X's balance loss depends on its part, but its size must not grow with the number of parts."""
    method = {"kind": "adaptformer-x", "rank": 4, "balance": 1.0}
    whole, cut = (gradients(tiny_run(method, batch_size=10, accumulate=parts), tmp_path) for parts in (1, 5))
    norms = [sum(float(g.square().sum()) for g in one[2].values()) ** 0.5 for one in (whole, cut)]
    assert norms[1] < 1.5 * norms[0]


@pytest.mark.parametrize(("batch", "parts"), [(8, 5), (2, 2), (3, 2)])
def test_parts_of_one_are_refused(batch: int, parts: int) -> None:
    with pytest.raises(UserError, match="parts of less than two"):
        tiny_run(batch_size=batch, accumulate=parts)


def test_images_may_be_cut_too() -> None:
    assert tiny_run(SMOOTH, backbone=VIT, accumulate=4).accumulate == 4
