"""Features made once: where nothing before the head changes, the backbone sees each input one time in a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..config import RunConfig
from ..data.feed import Feed
from ..errors import UserError
from ..peft.tuned_model import Tuned
from .stepping import computing_in

_BATCH = 64
"""Inputs at a time, as when a split is scored."""


class FeatureFeed:
    """A split whose batches are rows (B, W) of what its head reads; see `Tuned.forward`."""

    def __init__(self, labels: Tensor, rows: Tensor) -> None:
        self.labels, self._rows = labels, rows

    def batches(self, indices: Sequence[np.ndarray]) -> Iterator[Tensor]:
        for index in indices:
            yield self._rows[torch.from_numpy(index).to(self._rows.device)]


def obstacle(model: Tuned, config: RunConfig) -> str:
    """Return why this run's features change from step to step even for the same input, or nothing."""
    if config.data.answers == "parts":
        return "the head of parts reads the backbone point by point"
    if model.tuned_names or any(True for _ in model.method.attachments()):
        return f"{config.method.kind} changes the backbone, so that its features change with every step"
    if config.batchnorm == "paper" and any(isinstance(module, nn.BatchNorm1d) for module in model.trunk.modules()):
        return "batchnorm is `paper`, which lets the statistics of the backbone's batch norms move"
    return ""


class Features:
    """The features of a run's splits: of the training part where the run says `once`, of the others where it can be."""

    def __init__(self, model: Tuned, config: RunConfig, precision: str, device: torch.device) -> None:
        why = obstacle(model, config)
        self.once = config.features == "once"
        if self.once and why:
            raise UserError(
                "features cannot be made once here",
                got=why,
                expected="the method probe without train_cls, whole inputs to tell the class of, and batchnorm frozen",
                remedy="Set batchnorm to frozen, or features to anew",
            )
        self._model, self._config, self._precision, self._device = model, config, precision, device
        self._fixed = not why
        self._scored: dict[str, FeatureFeed] = {}

    def to_train(self, feed: Feed) -> Feed:
        """Return the rows of the training part: each input is varied one time, as the seed says. They are in order and
        in batches of one size, so that a run that resumes makes the same ones.
        """
        if not self.once:
            return feed
        config = self._config
        mixed = int(np.random.SeedSequence([config.seed, 4]).generate_state(1)[0])
        generator = torch.Generator(self._device).manual_seed(mixed)
        return self._made(feed, lambda inputs: config.data.vary(inputs, config.augment, generator), self._precision)

    def to_score(self, split: str, make: Callable[[], Feed]) -> Feed:
        """Return a split to be scored: the same rows each time where they cannot change, else its inputs."""
        if not self._fixed:
            return make()
        if split not in self._scored:
            self._scored[split] = self._made(make(), lambda inputs: inputs, "float32")
        return self._scored[split]

    @torch.no_grad()
    def _made(self, feed: Feed, vary: Callable[[Tensor], Tensor], precision: str) -> FeatureFeed:
        every = np.arange(len(feed.labels))
        indices = [every[i : i + _BATCH] for i in range(0, len(every), _BATCH)]
        was_training = self._model.training
        self._model.eval()
        rows: list[Tensor] = []
        try:
            for inputs in feed.batches(indices):
                with computing_in(precision, self._device):
                    rows.append(self._model.features(*self._model.trunk.prepare(vary(inputs)))[0])
        finally:
            self._model.train(was_training)
        return FeatureFeed(feed.labels, torch.cat(rows))
