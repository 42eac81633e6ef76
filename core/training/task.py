"""What is learned from a data set, so that training needs no cases: the loss, what counts as right, and the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.dataset import Dataset
from ..data.feed import Feed
from ..data.part_clouds import PartNames, first_parts
from ..events import Metric, Scores
from ..peft.tuned_model import Tuned
from .evaluate import predict_logits, score_logits

SplitName = Literal["validation", "test"]
_CLOUDS = 16
"""Clouds whose points are answered together when a split is scored."""


Answering = Callable[..., Tensor]
"""A model, or what answers of a batch's features in its place: called with inputs and, where points have parts, labels.
"""


class Task(Protocol):
    """One way to learn from a batch of inputs with their labels (B,)."""

    @property
    def metric(self) -> Metric:
        """What `accuracy` means in this task's events, and what the best epoch is chosen by."""
        ...

    @property
    def answers(self) -> Mapping[str, list[int]]:
        """Of each split, the class that each input was called when it was last scored; empty where points answer."""
        ...

    def seen(self, inputs: Tensor) -> Tensor:
        """Return what the backbone sees of the inputs."""
        ...

    def learn(self, model: Answering, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (loss, the metric summed over the batch), both scalars; only the first has a gradient."""
        ...

    def score(self, model: Tuned, feed: Feed, split: SplitName) -> Scores:
        """Return the scores of a split, in evaluation mode; the model's mode is put back after."""
        ...


def task_of(dataset: Dataset) -> Task:
    """Return what a run learns from this data set."""
    return PartTask(dataset.part_names) if dataset.part_names else ClassTask(len(dataset.classes))


class ClassTask:
    """To tell the class of each input."""

    metric: Metric = "accuracy"

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.answers: dict[str, list[int]] = {}

    def seen(self, inputs: Tensor) -> Tensor:
        return inputs

    def learn(self, model: Answering, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(inputs)
        return F.cross_entropy(logits.float(), labels), (logits.argmax(dim=1) == labels).sum()

    def score(self, model: Tuned, feed: Feed, split: SplitName) -> Scores:
        logits = predict_logits(model, feed)
        self.answers[split] = cast("list[int]", logits.argmax(dim=1).tolist())
        return score_logits(logits, feed.labels, self.classes, split)


class PartTask:
    """To tell the part of each point of a cloud whose category is known. Inputs are (B, N, 4), see `PartData`.

    The loss is over the parts of all categories; an answer is the likeliest part of the cloud's own category. A cloud's
    mIoU is the mean over its category's parts, in which a part counts 1 that neither is there nor was answered. As
    PointNet (CVPR 2017) and Point-MAE score ShapeNetPart.
    """

    metric: Metric = "mIoU"

    def __init__(self, part_names: PartNames) -> None:
        self.part_names = part_names
        self.answers: dict[str, list[int]] = {}
        counts, total = [len(names) for names in part_names], sum(map(len, part_names))
        own = torch.zeros(len(counts), total, dtype=torch.bool)
        for category, (first, count) in enumerate(zip(first_parts(part_names), counts)):
            own[category, first : first + count] = True
        self._own = {own.device: own}

    def own(self, device: torch.device) -> Tensor:
        """Return (C, P): which parts a category has. Brought to each device once: a recorded step finds it there."""
        if device not in self._own:
            self._own[device] = next(iter(self._own.values())).to(device)
        return self._own[device]

    def seen(self, inputs: Tensor) -> Tensor:
        return inputs[..., :3]

    def learn(self, model: Answering, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits, truth = self._answered(model, inputs, labels)
        loss = F.cross_entropy(logits.flatten(0, 1), truth.flatten())
        with torch.no_grad():
            return loss, self._of_clouds(self._overlap(logits, truth, labels), labels).sum()

    @torch.inference_mode()
    def score(self, model: Tuned, feed: Feed, split: SplitName) -> Scores:
        every = np.arange(len(feed.labels))
        indices = [every[i : i + _CLOUDS] for i in range(0, len(every), _CLOUDS)]
        was_training = model.training
        model.eval()
        overlaps: list[Tensor] = []
        right, loss, points = 0.0, 0.0, 0
        try:
            for index, inputs in zip(indices, feed.batches(indices)):
                labels = feed.labels[torch.from_numpy(index).to(feed.labels.device)]
                logits, truth = self._answered(model, inputs, labels)
                loss += float(F.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="sum"))
                overlap = self._overlap(logits, truth, labels)
                right, points = right + float(overlap[0].sum()), points + truth.numel()
                overlaps.append(overlap.cpu())
        finally:
            model.train(was_training)
        return self._scores(torch.cat(overlaps, dim=1), feed.labels.cpu(), split, (loss / points, right / points))

    def _answered(self, model: Answering, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (logits (B, N, P) float32, the true parts (B, N))."""
        return model(self.seen(inputs), labels).float(), inputs[..., 3].long()

    def _overlap(self, logits: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        """Return (2, B, P): of each cloud how many points are of a part and called so, and how many are either."""
        own = self.own(labels.device)[labels]
        answer = logits.masked_fill(~own[:, None], float("-inf")).argmax(dim=2)
        ones = torch.ones_like(truth, dtype=torch.float32)

        def counted(parts: Tensor, weight: Tensor) -> Tensor:
            return ones.new_zeros(own.shape).scatter_add_(1, parts, weight)

        both = counted(truth, (answer == truth).float())
        return torch.stack([both, counted(truth, ones) + counted(answer, ones) - both])

    def _of_clouds(self, overlap: Tensor, labels: Tensor) -> Tensor:
        """Return (B,): the mIoU of each cloud."""
        both, either = overlap
        own = self.own(labels.device)[labels]
        shares = torch.where(either > 0, both / either.clamp(min=1), 1.0)
        return (shares * own).sum(dim=1) / own.sum(dim=1)

    def _scores(self, overlap: Tensor, labels: Tensor, split: SplitName, means: tuple[float, float]) -> Scores:
        each = self._of_clouds(overlap, labels).double()
        per_class = tuple(
            float(each[labels == category].mean()) if bool((labels == category).any()) else None
            for category in range(len(self.part_names))
        )
        both, either = overlap.double()
        shares, there = both / either.clamp(min=1), either > 0
        per_part = tuple(
            float(shares[there[:, part], part].mean()) if bool(there[:, part].any()) else None
            for part in range(overlap.shape[2])
        )
        known = [value for value in per_class if value is not None]
        return Scores(
            split=split,
            metric=self.metric,
            accuracy=float(each.mean()),
            loss=means[0],
            mean_class_accuracy=float(np.mean(known)),
            per_class=per_class,
            point_accuracy=means[1],
            per_part=per_part,
        )
