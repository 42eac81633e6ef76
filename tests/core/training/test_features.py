"""Features made once: the numbers of a run that makes them at every step, the backbone asked one time per input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pointsmith.core.config import RunConfig
from pointsmith.core.data.load import load
from pointsmith.core.errors import UserError
from pointsmith.core.events import Epoch, Finished, Interrupted, Scores, Step
from pointsmith.core.models.point_transformer import PointTransformer
from pointsmith.core.training import train
from pointsmith.core.training.features import Features
from pointsmith.core.training.train import Trainer
from safetensors.torch import load_file

from tests.support.tiny import tiny_run


def probe(**changes: Any) -> RunConfig:
    return tiny_run({"kind": "probe"}, **{"batchnorm": "frozen", "features": "once", "epochs": 3, **changes})


def numbers(events: list[Any]) -> list[float]:
    found: list[float] = []
    for event in events:
        if isinstance(event, Step):
            found += [event.loss, event.grad_norm, event.lr]
        if isinstance(event, Epoch):
            found += [event.train_loss, event.validation_loss or 0.0]
        if isinstance(event, Scores):
            found += [event.loss, event.accuracy]
    return found


class Every:
    """The backbone at every step, on inputs that were varied one time: what `once` has to equal."""

    def __init__(self, model: Any, rows: torch.Tensor, labels: torch.Tensor) -> None:
        self.model, self.rows, self.labels = model, rows, labels

    def batches(self, indices: Any) -> Any:
        for index in indices:
            with torch.no_grad():
                self.model.trunk.eval()
                points = self.rows[torch.from_numpy(index)]
                rows = self.model.features(*self.model.trunk.prepare(points))[0]
            yield rows


def seen_at_every_step(self: Features, feed: Any) -> Any:
    seen: list[torch.Tensor] = []
    made = Features._made

    def noted(features: Features, of: Any, vary: Any, precision: str) -> Any:
        return made(features, of, lambda inputs: seen.append(vary(inputs)) or seen[-1], precision)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Features, "_made", noted)
        original(self, feed)
    return Every(self._model, torch.cat(seen), feed.labels)


original = Features.to_train


def test_the_numbers_are_those_of_a_backbone_asked_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = list(train(probe(), tmp_path / "once", device="cpu"))
    monkeypatch.setattr(Features, "to_train", seen_at_every_step)
    monkeypatch.setattr(Features, "to_score", lambda self, split, make: make())
    every = list(train(probe(), tmp_path / "every", device="cpu"))
    assert len(numbers(once)) > 20 and isinstance(once[-1], Finished)
    assert numbers(once) == pytest.approx(numbers(every), rel=1e-6, abs=1e-7)
    mine, theirs = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("once", "every"))
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, atol=1e-5, rtol=1e-5)


def test_the_backbone_sees_each_input_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clouds: list[int] = []
    encode = PointTransformer.group

    def counted(self: PointTransformer, points: torch.Tensor) -> Any:
        clouds.append(len(points))
        return encode(self, points)

    monkeypatch.setattr(PointTransformer, "group", counted)
    run = probe(epochs=5)
    dataset = load(run.data)
    every = len(dataset.train) + len(dataset.validation or ()) + len(dataset.test or ())
    list(Trainer(run, tmp_path / "run", dataset, torch.device("cpu")).run(lambda: False))
    assert sum(clouds) == every
    clouds.clear()
    anew = probe(epochs=2, features="anew")
    list(Trainer(anew, tmp_path / "anew", dataset, torch.device("cpu")).run(lambda: False))
    assert sum(clouds) >= 2 * (len(dataset.train) - 8) + every - len(dataset.train)


def test_a_resumed_run_has_the_same_numbers(tmp_path: Path) -> None:
    whole = list(train(probe(), tmp_path / "whole", device="cpu"))
    asked = iter(range(10**6))
    first = list(train(probe(), tmp_path / "parts", device="cpu", stop=lambda: next(asked) > 8))
    assert isinstance(first[-1], Interrupted)
    rest = list(train(probe(), tmp_path / "parts", device="cpu"))
    assert numbers(rest) == numbers(whole)[-len(numbers(rest)) :]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"batchnorm": "paper"}, "statistics of the backbone's batch norms move"),
        ({"method": {"kind": "probe", "train_cls": True}}, "changes the backbone"),
        ({"method": {"kind": "dapt", "rank": 4}}, "dapt changes the backbone"),
    ],
)
def test_what_changes_with_every_step_is_refused(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    method = changes.pop("method", {"kind": "probe"})
    run = tiny_run(method, **{"batchnorm": "frozen", "features": "once", **changes})
    with pytest.raises(UserError, match=why):
        list(train(run, tmp_path / "run", device="cpu"))
