"""Which of the ways to make gradients a run takes: measured in dry steps of a few inputs, the fastest that fits."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import RunConfig
from .gradients import MODES, Gradients, Mode, Way, least_mode, way_of
from .memory import GIB, free_bytes, gib, most_taken, taken_bytes
from .two_phase import obstacle

SHARE = 0.9
"""Of what is free, how much `auto` takes where no budget is set."""
MARGIN = 1.15
"""What a step takes over what its tensors do: libraries' scratch, and holes between tensors."""
_FEW, _MORE = 2, 4
_SMALLEST = 2
"""The least inputs in a slice of two phases."""


@dataclass(frozen=True)
class Cost:
    """What a step takes beyond model and data, in bytes: a constant, and so much for each input that is kept at once.

    In two phases an input of the batch costs `per_input`, one of the slice `per_slice_input` besides.
    """

    constant: float
    per_input: float
    per_slice_input: float = 0.0

    def of(self, batch: int, pieces: int, mode: Mode) -> float:
        """Return the peak of a step on a batch in so many pieces."""
        piece = -(-batch // pieces)
        if mode == "two-phase":
            return self.constant + self.per_input * batch + self.per_slice_input * piece
        return self.constant + self.per_input * piece


Inputs = Callable[[int], tuple[Tensor, Tensor]]
"""Makes (inputs, labels) of so many."""


class DryRun:
    """Steps of a run's model whose only result is what they take; model and randomness are as before, after each."""

    def __init__(self, gradients: Gradients, inputs: Inputs) -> None:
        self.gradients, self.inputs = gradients, inputs
        self._costs: dict[Mode, Cost] = {}
        self._ready = False
        self.device = gradients.device

    def peak(self, way: Way, batch: int) -> int:
        """Return the bytes that making a batch's gradients takes at most, and the optimiser keeps."""
        moments = 2 * 4 * sum(parameter.numel() for _, parameter in self.gradients.model.trainable())
        with self.untouched(way):
            if not self._ready:  # copies of weights that the first step makes, and that stay, are no step's
                self.step(_FEW)
                self._ready = True
            return moments + most_taken(lambda: self.step(batch), self.device)

    def step(self, batch: int) -> None:
        self.gradients.of(*self.inputs(batch))

    def cost(self, mode: Mode) -> Cost:
        """Return the cost of a mode, from two small batches; measured once."""
        if mode not in self._costs:
            self._costs[mode] = self._measured(mode)
        return self._costs[mode]

    def _measured(self, mode: Mode) -> Cost:
        if mode == "two-phase":
            small, large = (self.peak(Way(mode, batch // _FEW), batch) for batch in (_MORE, 2 * _MORE))
            wide = self.peak(Way(mode, _FEW), 2 * _MORE)
            per_input, per_slice = max(0.0, (large - small) / _MORE), max(0.0, (wide - large) / (_MORE - _FEW))
            return Cost(small - _MORE * per_input - _FEW * per_slice, per_input, per_slice)
        small, large = (self.peak(Way(mode), batch) for batch in (_FEW, _MORE))
        per_input = max(0.0, (large - small) / (_MORE - _FEW))
        return Cost(small - _FEW * per_input, per_input)

    @contextmanager
    def untouched(self, way: Way) -> Generator[None]:
        """Have the model go this way in training mode while the block runs, and be as it was after."""
        model, before = self.gradients.model, self.gradients.way
        buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        training = model.training
        devices = [self.device] if self.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(0)
                self.gradients.take(way)
                model.train()
                yield
        finally:
            for buffer, content in buffers:
                buffer.copy_(content)
            for _, parameter in model.trainable():
                parameter.grad = None
            self.gradients.take(before)
            model.train(training)


def allowed_bytes(config: RunConfig, device: torch.device) -> float:
    """Return what a step may take beyond what is taken now."""
    if config.memory_budget is not None:
        return config.memory_budget * GIB - taken_bytes(device)
    return SHARE * free_bytes(device)


def choose(config: RunConfig, dry: DryRun, batch: int) -> tuple[Way, str, str]:
    """Return the way of a run, why it is this one, as a sentence, and what went wrong, as another; both may be empty.

    Nothing is measured where the run says which mode it wants.
    """
    first = least_mode(config)
    if config.memory != "auto":
        return way_of(config, first, batch, dry.device), "", ""
    allowed = allowed_bytes(config, dry.device) / MARGIN
    smallest: tuple[float, Way] | None = None
    for mode in MODES[MODES.index(first) :]:
        if mode == "two-phase" and obstacle(dry.gradients.model):
            continue
        for way, needed in _ways(config, dry, batch, mode):
            if needed <= allowed:
                told = f"{_told(way, needed)}, and is the fastest way that fits into {gib(allowed)}"
                return way, "" if mode == "fast" else told, ""
            if smallest is None or needed < smallest[0]:
                smallest = needed, way
    assert smallest is not None
    needed, way = smallest
    trouble = f"No way to train in batches of {batch} fits: {_told(way, needed)}, and {gib(allowed)} are to be had"
    return way, "", f"{trouble}. Lower batch_size, or raise memory_budget"


def _ways(config: RunConfig, dry: DryRun, batch: int, mode: Mode) -> Generator[tuple[Way, float]]:
    """Yield the ways of a mode, and what each takes."""
    way = way_of(config, mode, batch, dry.device)
    if mode != "two-phase":
        few = max(_FEW, -(-batch // way.pieces))
        bound = dry.peak(Way(mode), _FEW) * few / _FEW  # never too low, and made in half a measurement
        yield way, bound
        yield way, dry.cost(mode).of(batch, way.pieces, mode)
        return
    cost = dry.cost(mode)
    yield way, cost.of(batch, way.pieces, mode)
    size = -(-batch // way.pieces)
    while config.accumulate == 1 and size > _SMALLEST:
        size = max(_SMALLEST, size // 2)
        way = way_of(config, mode, batch, dry.device, size)
        yield way, cost.of(batch, way.pieces, mode)


def _told(way: Way, needed: float) -> str:
    return f"memory `{way.mode}`" + (f" in {way.pieces} pieces" if way.pieces > 1 else "") + f" takes {gib(needed)}"
