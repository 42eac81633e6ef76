"""A queue before the model: what many visitors ask within a few milliseconds is answered in one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import cast

import torch
from torch import Tensor

from ..errors import UserError
from .family import Family, Held

Answer = tuple[Tensor, Tensor]
"""Logits (k, C) float32 and centres (k, G, 3), on the CPU."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One visitor's inputs (k, …) for one adapter, and where the answer will be."""

    family: Family
    held: Held
    inputs: Tensor
    answer: Future[Answer] = field(default_factory=lambda: Future[Answer]())
    since: float = field(default_factory=time.perf_counter)

    def goes_with(self, other: Asked) -> bool:
        """Whether both can share a batch."""
        return self.family is other.family and self.inputs.shape[1:] == other.inputs.shape[1:]


Work = Callable[[Sequence[Asked]], Answer]
"""Answers several requests that go with each other, one after another in one tensor."""


class Gatherer:
    """One thread takes requests in the order of their arrival, each with those behind it that go with it.

    So however many visitors there are, one batch of at most `most_inputs` is computed at a time, and memory is that of
    one batch. While visitors come in numbers, a batch that is not full waits `patience` seconds for others, counted
    from its first request; a lone visitor waits for nobody.
    """

    def __init__(self, work: Work, *, most_inputs: int = 8, most_waiting: int = 128, patience: float = 0.002) -> None:
        self._work, self.most_inputs, self.most_waiting, self.patience = work, most_inputs, most_waiting, patience
        self._waiting: list[Asked] = []
        self._changed = Condition()
        self._thread: Thread | None = None
        self._closed = False
        self._crowd = False

    def ask(self, family: Family, held: Held, inputs: Tensor) -> Answer:
        """Return the answer to inputs (k, …), k of any size, when it is there. UserError when too many wait already."""
        pieces = [Asked(family, held, some) for some in _split(inputs, self.most_inputs)]
        with self._changed:
            if self._closed:
                raise UserError("This server has been closed", remedy="Start it again")
            if len(self._waiting) >= self.most_waiting:
                raise UserError(
                    f"Busy: {len(self._waiting)} requests are waiting for their answers",
                    expected=f"fewer than {self.most_waiting}",
                    remedy="Try again in a moment",
                )
            self._waiting += pieces
            if self._thread is None:
                self._thread = Thread(target=self._run, name="answers", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        found = [piece.answer.result() for piece in pieces]
        return torch.cat([logits for logits, _ in found]), torch.cat([centres for _, centres in found])

    def close(self) -> None:
        """Answer what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while batch := self._next():
            try:
                logits, centres = self._work(batch)
            except BaseException as error:
                for asked in batch:
                    asked.answer.set_exception(error)
                continue
            sizes = [len(asked.inputs) for asked in batch]
            for asked, mine, places in zip(batch, _split(logits, sizes), _split(centres, sizes)):
                asked.answer.set_result((mine, places))

    def _next(self) -> list[Asked]:
        """Wait for requests and return the next batch; an empty one when closed."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            until = self._waiting[0].since + self.patience
            batch = self._fitting()
            while self._crowd and sum(len(one.inputs) for one in batch) < self.most_inputs and not self._closed:
                left = until - time.perf_counter()
                if left <= 0:
                    break
                self._changed.wait(left)
                batch = self._fitting()
            self._waiting = [one for one in self._waiting if one not in batch]
            self._crowd = len(batch) > 1 or bool(self._waiting)
            return batch

    def _fitting(self) -> list[Asked]:
        """Return the oldest request and those behind it that fit into one batch with it."""
        batch, inputs = [self._waiting[0]], len(self._waiting[0].inputs)
        for one in self._waiting[1:]:
            if inputs + len(one.inputs) <= self.most_inputs and one.goes_with(batch[0]):
                batch.append(one)
                inputs += len(one.inputs)
        return batch


def _split(tensor: Tensor, sizes: int | list[int]) -> tuple[Tensor, ...]:
    return cast("tuple[Tensor, ...]", tensor.split(sizes))
