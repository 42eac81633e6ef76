"""The answers that a run leaves are those that its scores count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pointsmith.core.errors import UserError
from pointsmith.core.events import Scores
from pointsmith.core.training import train
from pointsmith.core.training.answers import read_answers

from tests.support.tiny import tiny_run


def test_answers_and_confusion_agree(tmp_path: Path) -> None:
    events = list(train(tiny_run(), tmp_path, device="cpu"))
    found = read_answers(tmp_path / "predictions.json")
    scores = {event.split: event for event in events if isinstance(event, Scores)}
    assert found.keys() == scores.keys() == {"validation", "test"}
    for split, told in scores.items():
        counts = np.zeros((15, 15), np.int64)
        np.add.at(counts, (found[split].labels, found[split].answers), 1)
        assert counts.tolist() == [list(row) for row in told.confusion]
        i, j = np.argwhere(counts)[-1]
        called = found[split].called(i, j)
        assert len(called) == counts[i, j] and (found[split].answers[called] == j).all()


def test_answers_of_other_data_or_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not known"):
        read_answers(tmp_path / "predictions.json")
    (tmp_path / "predictions.json").write_text('{"fingerprint": "a", "splits": {}}')
    assert read_answers(tmp_path / "predictions.json", "a") == {}
    with pytest.raises(UserError, match="has changed"):
        read_answers(tmp_path / "predictions.json", "b")
