"""The gradients of a whole batch in the memory of a slice: features first, then slice by slice what they follow from.

Phase one makes the features of all slices without gradients; head and loss see the whole batch, so its batch norms do;
phase two makes each slice's features again, with the random numbers of before, and hands their gradient on (GradCache,
arXiv 2101.06983). What is kept of a batch are its inputs, embedded patches and features.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from ..peft.tuned_model import Tuned
from .task import Task


def obstacle(model: Tuned) -> str:
    """Return why slices would not give the batch's gradients, as half a sentence; empty where they do."""
    if any(isinstance(part, nn.BatchNorm1d) for part in model.method.modules()):
        return "the method has batch norms of its own, which take their statistics from the whole batch"
    if model.batchnorm == "frozen":
        return ""
    once = model.trunk.whole_batch()
    inside = set(once.modules()) if once is not None else set[nn.Module]()
    if any(isinstance(part, nn.BatchNorm1d) and part not in inside for part in model.trunk.modules()):
        why = "its embedding of patches trains" if model.trunk.shape.insertable else "it embeds between blocks too"
        return f"the backbone's batch norms see the whole batch, and {why} (`batchnorm: frozen` would allow it)"
    return ""


class Randomness:
    """Where the generators that dropout and drop path draw from stand, so that a slice can see the same twice."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.host = torch.get_rng_state()
        self.on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        torch.set_rng_state(self.host)
        if self.on_device is not None:
            torch.cuda.set_rng_state(self.on_device, self.device)


def two_phase(
    model: Tuned,
    task: Task,
    batch: tuple[Tensor, Tensor],
    slices: int,
    computing: Callable[[], AbstractContextManager[object]],
) -> tuple[Tensor, Tensor]:
    """Leave the gradients of a batch (inputs, labels), as one pass would; return (loss, summed metric), scalars.

    `computing` makes the context of a forward pass; a new one each time, because autocast remembers weights that it
    cast without gradients.
    """
    inputs, labels = batch
    slices = min(slices, len(inputs))
    with torch.no_grad(), computing():
        prepared = model.trunk.prepare(task.seen(inputs))
    cut = list(zip(*(one.tensor_split(slices) for one in prepared)))
    try:
        model.method.see_slices("first")
        states, features = _without_gradients(model, cut, computing)
        model.method.see_slices("second")
        with computing():
            loss, metric = task.learn(cast(Callable[..., Tensor], partial(model.answer, features)), inputs, labels)
        loss.backward()
        if any(one.requires_grad for part in (model.trunk, model.method) for one in part.parameters()):
            gradients = list(zip(*(_cut(one.grad, slices) for one in features)))
            for part, state, wanted in zip(cut, states, gradients):
                state.restore()
                _hand_on(model, part, wanted, computing, len(part[0]) / len(inputs))
    finally:
        model.method.see_slices(None)
    return loss.detach(), metric


def _without_gradients(
    model: Tuned, cut: list[tuple[Tensor, ...]], computing: Callable[[], AbstractContextManager[object]]
) -> tuple[list[Randomness], tuple[Tensor, ...]]:
    """Return where the generators stood before each slice, and the features of all, as leaves that take gradients."""
    states: list[Randomness] = []
    found: list[tuple[Tensor, ...]] = []
    for part in cut:
        states.append(Randomness(part[0].device))
        with torch.no_grad(), computing():
            found.append(model.features(*part))
    return states, tuple(torch.cat(column).requires_grad_() for column in zip(*found))


def _cut(gradient: Tensor | None, slices: int) -> tuple[Tensor | None, ...]:
    return (None,) * slices if gradient is None else gradient.tensor_split(slices)


def _hand_on(
    model: Tuned,
    part: tuple[Tensor, ...],
    wanted: tuple[Tensor | None, ...],
    computing: Callable[[], AbstractContextManager[object]],
    share: float,
) -> None:
    """Make a slice's features again and pass their gradients on to all that trains."""
    with computing():
        again = model.features(*part)
    penalty = model.method.penalty()
    pairs = [(one, gradient) for one, gradient in zip(again, wanted) if one.requires_grad and gradient is not None]
    made = [one for one, _ in pairs]
    gradients: list[Tensor | None] = [gradient for _, gradient in pairs]
    if penalty is not None:
        made.append(penalty * share)
        gradients.append(None)
    torch.autograd.backward(made, gradients)
