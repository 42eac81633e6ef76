"""The whole training step as one CUDA graph: recorded once, then replayed on whatever lies in its input's place.

What is random in a step still follows from (seed, step) alone: augmentation happens before the graph, and dropout and
drop path inside of it draw from PyTorch's CUDA generator, which every replay reads anew and every step seeds. So a run
that resumes records its graph again and goes on with the masks that the uninterrupted one would have drawn; its numbers
are equal as far as the GPU's own operations repeat theirs, as without a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..peft.noah import NOAH
from ..peft.tuned_model import Tuned
from .gradients import Way

_WARM_UPS = 3
"""Steps before the recording, in which libraries choose their kernels and allocate what they keep."""


def check_graph(model: Tuned, way: Way, device: torch.device) -> None:
    """UserError where a run's steps are not the same operations on the same memory each time."""
    if device.type != "cuda":
        raise UserError("graph records steps on a GPU", got=str(device), remedy="Turn graph off, or choose a GPU")
    if isinstance(model.method, NOAH) and model.method.searched:
        raise UserError(
            "graph needs the same operations in every step, and a supernet draws other sizes each time",
            remedy="Turn graph off, or give method.plan",
        )
    if way != Way("fast"):
        raise UserError(
            "graph needs each batch to go through the model once and at once",
            got=f"memory {way}",
            expected="memory fast, and accumulate 1",
            remedy="Turn graph off, or lower batch_size until memory fast fits",
        )


class GraphedStep:
    """`work(inputs, labels)` recorded at the first call, after which its inputs are copied into their place.

    `work` answers a tensor. Recording needs steps that count for nothing: model, optimiser and generators are put back.
    """

    def __init__(
        self, work: Callable[[Tensor, Tensor], Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._work, self._model, self._optimizer = work, model, optimizer
        self._recorded: tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor] | None = None

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return what `work` answers, as a tensor of its own; every call needs inputs of the first one's shape."""
        if self._recorded is None:
            self._recorded = self._record(inputs, labels)
        graph, place, answers, row = self._recorded
        place.copy_(inputs)
        answers.copy_(labels)
        graph.replay()
        return row.clone()

    def _record(self, inputs: Tensor, labels: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]:
        place, answers = inputs.clone(), labels.clone()
        side = torch.cuda.Stream(inputs.device)
        side.wait_stream(torch.cuda.current_stream(inputs.device))
        with untouched(self._model, self._optimizer, inputs.device):
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    self._work(place, answers)
            torch.cuda.current_stream(inputs.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):  # records and computes nothing
            row = self._work(place, answers)
        return graph, place, answers, row


@contextmanager
def untouched(model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> Generator[None]:
    """Have model, optimiser and generators after the block as before it, every tensor where it was."""
    held = [*model.parameters(), *model.buffers(), *_moments(optimizer)]
    before = [(tensor, tensor.detach().clone()) for tensor in held]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
    with torch.no_grad():
        known = {id(tensor) for tensor in held}
        for tensor in _moments(optimizer):
            if id(tensor) not in known:  # the block's first step made it, and so it begins
                tensor.zero_()
        for tensor, content in before:
            tensor.copy_(content)


def _moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    states = optimizer.state.values()
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]
