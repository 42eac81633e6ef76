"""What a run tells of its routing: right, small, and without a trace in its results."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pointsmith.core.building import build
from pointsmith.core.events import Epoch, Note, Routed, Scaled, parse_event
from pointsmith.core.peft.mixture import Router
from pointsmith.core.peft.routing import watching, watching_scales
from pointsmith.core.training import routes, train
from pointsmith.core.training.routes import Observer
from safetensors.torch import load_file

from tests.support.tiny import tiny_run


def told(tmp_path: Path, method: dict, **changes) -> list:
    return list(train(tiny_run(method, **changes), tmp_path, device="cpu"))


def test_a_mixture_tells_its_load_at_the_start_after_each_epoch_and_of_the_kept_one(tmp_path: Path) -> None:
    events = told(tmp_path, {"kind": "dapt-x", "rank": 4})
    found = [event for event in events if isinstance(event, Routed)]
    assert [(one.epoch, one.kept) for one in found[:4]] == [(0, False), (1, False), (2, False), (3, False)]
    best = max((event for event in events if isinstance(event, Epoch) and event.best), key=lambda one: one.epoch)
    assert [(one.epoch, one.kept) for one in found[4:]] == [(best.epoch, True)]
    for one in found:
        assert len(one.load) == 2 and all(sum(row) == pytest.approx(1, abs=1e-3) for row in one.load)
        assert all(0 <= value <= math.log(4) + 1e-3 for value in one.entropy)
        assert len(one.per_class) == 15
        assert all(row is None or sum(row) == pytest.approx(1, abs=1e-3) for row in one.per_class)
        assert len(one.by_block) == (2 if one.kept else 0)
        assert parse_event.validate_json(one.model_dump_json()) == one
    assert max(len(one.model_dump_json()) for one in found) < 4096


def test_dapt_tells_its_scales(tmp_path: Path) -> None:
    found = [event for event in told(tmp_path, {"kind": "dapt", "rank": 4}) if isinstance(event, Scaled)]
    assert [one.epoch for one in found[:4]] == [0, 1, 2, 3] and found[-1].kept
    for one in found:
        assert len(one.mean) == len(one.std) == len(one.off) == len(one.quantiles) == 2
        assert all(list(row) == sorted(row) and len(row) == 5 for row in one.quantiles)
        assert all(0 <= share <= 1 for share in one.off)


def test_looking_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very same adapter, and the same numbers, with nobody looking."""
    for kind in ("dapt-x", "dapt"):
        seen = told(tmp_path / f"{kind}-seen", {"kind": kind, "rank": 4})
        with monkeypatch.context() as blind:
            blind.setattr(Observer, "look", lambda self, epoch, *, kept=False: iter(()))
            unseen = told(tmp_path / f"{kind}-unseen", {"kind": kind, "rank": 4})
        left, right = (
            load_file(tmp_path / f"{kind}-{one}" / "adapter" / "adapter_model.safetensors")
            for one in ("seen", "unseen")
        )
        assert all(torch.equal(left[name], right[name]) for name in right) and left.keys() == right.keys()
        losses = [[event.train_loss for event in one if isinstance(event, Epoch)] for one in (seen, unseen)]
        assert losses[0] == losses[1]


def test_dead_experts_are_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = torch.tensor([0.1, 0.8, 0.06, 0.04])
    monkeypatch.setattr(Router, "forward", lambda self, x: fixed.expand(len(x), 4) + 0 * self.project(x)[:, :1])
    events = told(tmp_path, {"kind": "dapt-x", "rank": 4})
    warnings = [one.message for one in events if isinstance(one, Note) and "as good as dead" in one.message]
    assert len(warnings) == 1 and "Experts 1, 3 and 4 get under 1% of the sub-tokens after epoch 1" in warnings[0]
    last = [event for event in events if isinstance(event, Routed)][-1]
    assert last.load[0] == (0.0, 1.0, 0.0, 0.0)
    assert last.entropy[0] == pytest.approx(-sum(p * math.log(p) for p in (0.1, 0.8, 0.06, 0.04)), abs=1e-3)


def test_the_inputs_are_even_over_classes_and_fixed_by_the_seed() -> None:
    labels = np.repeat([0, 1, 2], [50, 5, 1])
    chosen = routes._even(labels, 9, np.random.default_rng(1))
    assert np.bincount(labels[chosen]).tolist() == [4, 4, 1]
    assert (chosen == routes._even(labels, 9, np.random.default_rng(1))).all()
    assert len(np.unique(chosen)) == 9


def test_scales_are_what_the_adapter_multiplies_by() -> None:
    model = build(tiny_run({"kind": "dapt", "rank": 4}), 5).model.eval()
    clouds = torch.randn(3, 64, 3, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        before = model(clouds)
        with watching_scales(model.method) as scales, watching(model.method, 3) as gates:
            after = model(clouds)
        assert gates is None and scales is not None and torch.equal(before, after)
        assert [tuple(one.shape) for one in scales] == [(3, 9), (3, 10)]
        assert all(bool((one >= 0).all()) for one in scales)
        model(clouds)
        assert len(scales) == 2  # nobody looks any more
