"""What a method's routing looks like while it learns: a fixed few inputs, passed once at the end of each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..data.dataset import Dataset, Split
from ..events import Event, Idle, Note, Routed, Scaled
from ..peft.adapter_x import AdapterX
from ..peft.dapt import DAPT
from ..peft.routing import watching, watching_scales
from ..peft.tuned_model import Tuned

MOST = 64
"""The most inputs that are passed."""
_SHARE = 30
"""At most one in so many as the run trains on: to pass one forward costs about a third of learning from it."""
_AT_ONCE = 16
IDLE = 0.01
"""An expert with less than this share of the sub-tokens is as good as dead."""
_LONG = 20_000
"""A table by class with more numbers than this is left out of an event."""
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Observer:
    """Passes a few of the validation inputs (or else of the training inputs) and says what routers or scales did.

    The inputs are drawn by the run's seed, evenly over classes. Nothing else random is drawn, and nothing changed.
    """

    def __init__(self, model: Tuned, dataset: Dataset, seed: int, device: torch.device) -> None:
        self.model, self.device = model, device
        self.classes, self.of_parts = len(dataset.classes), bool(dataset.part_names)
        self._source: Split = dataset.validation or dataset.train
        count = min(MOST, max(_AT_ONCE, len(dataset.train) // _SHARE), len(self._source))
        self._chosen = _even(self._source.labels, count, np.random.default_rng([seed, 7]))
        self._said: tuple[Idle, ...] = ()

    def look(self, epoch: int, *, kept: bool = False) -> Iterator[Event]:
        """Yield what the method decides now; nothing, at no cost, where it decides nothing."""
        if isinstance(self.model.method, DAPT):
            yield self._scaled(epoch, kept)
        elif isinstance(self.model.method, AdapterX):
            told = self._routed(epoch, kept, self.model.method.config.shared)
            yield told
            if epoch and not kept and told.idle and told.idle != self._said:
                yield Note(message=_warning(told), level="warning")
                self._said = told.idle

    def _passes(self) -> Iterator[tuple[Tensor, list[Tensor], list[Tensor]]]:
        """Yield (labels (B,), each block's gates (B, L, h, N), each block's scales (B, L)) of each batch."""
        part = self._source.take(self._chosen)
        feed = part.feed(self.device)
        labels = torch.from_numpy(part.labels).long()
        indices = np.array_split(np.arange(len(part)), -(-len(part) // _AT_ONCE))
        method, was_training = self.model.method, self.model.training
        self.model.eval()
        try:
            for index, inputs in zip(indices, feed.batches(indices)):
                with torch.inference_mode(), watching(method, len(index)) as routes, watching_scales(method) as scales:
                    self.model.trunk(inputs[..., :3] if self.of_parts else inputs)
                yield labels[torch.from_numpy(index)], routes.gates if routes else [], scales or []
        finally:
            self.model.train(was_training)

    def _routed(self, epoch: int, kept: bool, shared: bool) -> Routed:
        counts, entropy = torch.zeros(()), torch.zeros(())
        for labels, gates, _ in self._passes():
            counts = counts + torch.stack([_choices(one, labels, self.classes) for one in gates])
            entropy = entropy + torch.stack([torch.special.entr(one).sum(-1).mean() for one in gates]) * len(labels)
        load = counts.sum(dim=1) / counts.sum(dim=(1, 2))[:, None]
        return Routed(
            epoch=epoch,
            kept=kept,
            inputs=len(self._chosen),
            shared=shared,
            load=tuple(_rounded(row) for row in load),
            entropy=_rounded(entropy / len(self._chosen)),
            per_class=_shares(counts.sum(dim=0)) if counts[0].numel() <= _LONG else (),
            by_block=tuple(_shares(one) for one in counts) if kept and counts.numel() <= _LONG else (),
            idle=_idle(load, shared),
        )

    def _scaled(self, epoch: int, kept: bool) -> Scaled:
        batches = [scales for _, _, scales in self._passes()]
        # Blocks see ever more prompts, so each has tokens of its own number.
        blocks = [torch.cat([one.flatten() for one in block]) for block in zip(*batches, strict=True)]
        at = torch.tensor(_QUANTILES)
        return Scaled(
            epoch=epoch,
            kept=kept,
            inputs=len(self._chosen),
            mean=_rounded(torch.stack([one.mean() for one in blocks])),
            std=_rounded(torch.stack([one.std() for one in blocks])),
            quantiles=tuple(_rounded(torch.quantile(one, at)) for one in blocks),
            off=_rounded(torch.stack([(one == 0).float().mean() for one in blocks])),
        )


def _even(labels: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return `count` indices, in order: one of each class in turn, drawn at random within it."""
    order = generator.permutation(len(labels))
    turn = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels[order] == label)
        turn[own] = np.arange(len(own))
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def _choices(gates: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return (C, N): of gates (B, L, h, N) of inputs of these classes (B,), how many sub-tokens choose each expert."""
    experts = gates.shape[-1]
    first = gates.argmax(dim=-1).flatten(1)
    own = torch.zeros(len(gates), experts).scatter_add_(1, first, torch.ones(first.shape))
    return torch.zeros(classes, experts).index_add_(0, labels, own)


def _shares(counts: Tensor) -> tuple[tuple[float, ...] | None, ...]:
    return tuple(_rounded(row / row.sum()) if float(row.sum()) else None for row in counts)


def _idle(load: Tensor, shared: bool) -> tuple[Idle, ...]:
    under = (load.mean(dim=0, keepdim=True) if shared else load) < IDLE
    found = cast("list[list[int]]", under.nonzero().tolist())
    return tuple(Idle(expert=expert, block=None if shared else block) for block, expert in found)


def _warning(told: Routed) -> str:
    if told.shared:
        which = _listed([f"{one.expert + 1}" for one in told.idle])
    else:
        which = _listed([f"{one.expert + 1} of block {(one.block or 0) + 1}" for one in told.idle])
    many = len(told.idle) > 1
    return (
        f"Expert{'s' if many else ''} {which} get{'' if many else 's'} under {IDLE:.0%} of the sub-tokens after epoch "
        f"{told.epoch}: as good as dead. A higher method.balance spreads them, fewer method.experts save them"
    )


def _listed(words: Sequence[str]) -> str:
    shown = list(words[:6]) + ([f"{len(words) - 6} more"] if len(words) > 6 else [])
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
