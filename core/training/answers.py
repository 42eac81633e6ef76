"""What a finished run called each input of its validation and test parts: a small file beside the adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset
from ..durable import write_synced
from ..errors import UserError

FILE = "predictions.json"


@dataclass(frozen=True)
class Answers:
    """Of one split, in its order: the true class of each input and the one that was answered, (S,) both."""

    labels: np.ndarray
    answers: np.ndarray

    def called(self, truth: int, answer: int) -> np.ndarray:
        """Return the indices of the inputs of class `truth` that were called `answer`."""
        return np.flatnonzero((self.labels == truth) & (self.answers == answer))


def write_answers(folder: Path, dataset: Dataset, answers: Mapping[str, list[int]]) -> None:
    """Write `answers` of each split, where there are any, into a run's folder."""
    parts = {"validation": dataset.validation, "test": dataset.test}
    splits = {
        name: {"labels": [int(label) for label in part.labels], "answers": answers[name]}
        for name, part in parts.items()
        if part is not None and name in answers
    }
    if splits:
        content = {"fingerprint": dataset.fingerprint, "splits": splits}
        write_synced(folder / FILE, json.dumps(content, separators=(",", ":")).encode())


def read_answers(path: Path, fingerprint: str | None = None) -> dict[str, Answers]:
    """Return {split: its answers} of a run's file; UserError where it is not there, or is of other data."""
    try:
        content = json.loads(path.read_text())
        known = content["fingerprint"]
        found = {
            str(name): Answers(np.array(part["labels"], np.int64), np.array(part["answers"], np.int64))
            for name, part in content["splits"].items()
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            "What this run called each input is not known", remedy="Runs keep it from this version on: train again"
        ) from error
    if fingerprint is not None and known != fingerprint:
        raise UserError(
            "The data set has changed since this run", got=fingerprint[:12], expected=known[:12], remedy="Train again"
        )
    return found
