"""How the gradients of a batch are made: at once, in parts, keeping less, or in two phases. Time against memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..config import RunConfig
from ..peft.tuned_model import Tuned
from .stepping import computing_in
from .task import Task
from .two_phase import obstacle, two_phase

Mode = Literal["fast", "recompute-mlp", "recompute", "two-phase"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""From the fastest to the one that takes least memory."""

SLICE = {"cpu": 8, "cuda": 64}
"""Inputs at a time in two phases; larger slices are not faster."""


@dataclass(frozen=True)
class Way:
    """A mode, and in how many pieces a batch goes through the model: parts of their own, or slices of two phases."""

    mode: Mode
    pieces: int = 1

    def __str__(self) -> str:
        return f"{self.mode} in {self.pieces}" if self.pieces > 1 else self.mode

    @classmethod
    def parse(cls, text: str) -> Way:
        """Return the way that `str` wrote."""
        mode, _, pieces = text.partition(" in ")
        return cls(next(one for one in MODES if one == mode), int(pieces or 1))


def least_mode(config: RunConfig) -> Mode:
    """Return the mode that a run asks for; `fast` where it asks for none."""
    asked: Mode = "fast" if config.memory == "auto" else config.memory
    return "recompute" if config.recompute and MODES.index(asked) < MODES.index("recompute") else asked


def way_of(config: RunConfig, mode: Mode, batch: int, device: torch.device, slice_size: int | None = None) -> Way:
    """Return how batches of this size take a mode: `accumulate` pieces, or in two phases as many as are useful."""
    if mode == "two-phase" and config.accumulate == 1:
        size = slice_size or SLICE.get(device.type, SLICE["cpu"])
        return Way(mode, -(-batch // size))
    return Way(mode, max(1, min(config.accumulate, batch // 2)))  # a batch norm needs two inputs


class Gradients:
    """Makes gradients of a model in one way, which may be changed between batches."""

    def __init__(self, model: Tuned, task: Task, precision: str, device: torch.device) -> None:
        self.model, self.task, self.precision, self.device = model, task, precision, device
        self.way = Way("fast")

    def take(self, way: Way) -> str:
        """Go this way from now on; return why another had to be taken in its place, as a sentence, or nothing."""
        why = obstacle(self.model) if way.mode == "two-phase" else ""
        self.way = Way("recompute") if why else way
        what = {"recompute-mlp": "mlps", "recompute": "blocks"}.get(self.way.mode, "nothing")
        self.model.recompute(what)  # type: ignore[arg-type]
        return f"Two phases would change the gradients here: {why}. Blocks are recomputed instead." if why else ""

    def of(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Leave the gradients of the batch's mean loss; return (that loss, summed metric), scalars.

        In parts the gradients are those of the whole batch, but for what depends on a part as a whole: batch norms take
        their statistics, and a method its balance of experts, from each part. In two phases they are those of one pass.
        """
        for _, parameter in self.model.trainable():
            parameter.grad = None
        if self.way.mode == "two-phase":
            return two_phase(self.model, self.task, (inputs, labels), self.way.pieces, self._computing)
        losses: list[Tensor] = []
        metrics: list[Tensor] = []
        pieces = max(1, min(self.way.pieces, len(inputs) // 2))
        for some, answers in zip(inputs.tensor_split(pieces), labels.tensor_split(pieces)):
            share = len(some) / len(inputs)
            with self._computing():
                loss, metric = self.task.learn(self.model, some, answers)
            penalty = self.model.method.penalty()
            whole = loss if penalty is None else loss + penalty
            (whole * share).backward()
            losses.append(loss.detach() * share)
            metrics.append(metric)
        return torch.stack(losses).sum(), torch.stack(metrics).sum()

    def _computing(self) -> AbstractContextManager[object]:
        return computing_in(self.precision, self.device)
