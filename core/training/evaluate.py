"""Scores of a model on one split."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.feed import Feed
from ..events import Scores
from ..peft.tuned_model import Tuned


@torch.inference_mode()
def predict_logits(model: Tuned, feed: Feed, batch_size: int = 64) -> Tensor:
    """Return logits (S, C) float32 of a split, in evaluation mode; the model's mode is put back after."""
    every = np.arange(len(feed.labels))
    indices = [every[i : i + batch_size] for i in range(0, len(every), batch_size)]
    was_training = model.training
    model.eval()
    try:
        parts = [model(inputs).float() for inputs in feed.batches(indices)]
    finally:
        model.train(was_training)
    return torch.cat(parts)


def score_logits(logits: Tensor, labels: Tensor, classes: int, split: Literal["validation", "test"]) -> Scores:
    """Return the scores of logits (S, C) against labels (S,)."""
    loss = float(F.cross_entropy(logits, labels))
    answers = logits.argmax(dim=1)
    confusion = torch.bincount(labels * classes + answers, minlength=classes * classes).view(classes, classes).cpu()
    return scores_of(confusion.numpy(), loss, split)


def scores_of(confusion: np.ndarray, loss: float, split: Literal["validation", "test"]) -> Scores:
    """Return the scores that a confusion matrix (C, C) implies; a class that does not occur has no accuracy."""
    hits, totals = np.diag(confusion), confusion.sum(axis=1)
    per_class = tuple(float(h / t) if t else None for h, t in zip(hits, totals))
    known = [value for value in per_class if value is not None]
    return Scores(
        split=split,
        accuracy=float(hits.sum() / totals.sum()),
        loss=loss,
        mean_class_accuracy=float(np.mean(known)),
        per_class=per_class,
        confusion=tuple(tuple(int(v) for v in row) for row in confusion),
    )
