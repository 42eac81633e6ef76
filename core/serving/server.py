"""Adapters that answer together: each looks like a `Predictor`, all share backbones, a queue and one batch's memory."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock, local

import numpy as np
import torch
from torch import Tensor

from ..adapters import AdapterConfig
from ..peft.tuned_model import Tuned
from ..predict import Predictor, Segmentation
from ..training.device import pick_device, pick_precision
from .gathering import Answer, Asked, Gatherer
from .pool import MOST_BYTES, Place, TrunkPool


class Server:
    """`open` gives adapters to ask, from any number of threads. `close` ends the thread that answers.

    `precision`: float32, or bf16, which is faster where the processor computes in it and moves logits by up to about
    1 %; auto is bf16 on such GPUs. `most_bytes` is for backbones and adapters, `most_inputs` the size of a batch.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        precision: str = "float32",
        most_bytes: int = MOST_BYTES,
        most_inputs: int = 8,
        most_waiting: int = 128,
        patience: float = 0.002,
    ) -> None:
        self.device = pick_device(device)
        precision = pick_precision(precision, self.device)
        self.pool = TrunkPool(self.device, precision=precision, most_bytes=most_bytes)
        self.computing = RLock()
        self.queue = Gatherer(self._work, most_inputs=most_inputs, most_waiting=most_waiting, patience=patience)

    def open(
        self, folder: str | Path, *, backbone_weights: str | None = None, fold: bool = False, untrusted: bool = False
    ) -> Served:
        """Return the adapter of a folder; UserError says what does not fit. `fold`, `untrusted` as in `Place`."""
        return Served(self, Place(Path(folder), backbone_weights, fold, untrusted))

    def close(self) -> None:
        self.queue.close()

    def _work(self, batch: Sequence[Asked]) -> Answer:
        inputs = torch.cat([asked.inputs for asked in batch]).to(self.device)
        chosen = [asked.held for asked in batch for _ in range(len(asked.inputs))]
        with self.computing:
            logits, centres = batch[0].family.answer(chosen, inputs, self.queue.most_inputs)
        return logits.cpu(), centres.cpu()


class Served(Predictor):
    """An adapter of a server. It holds no weights: what the server has forgotten is read from the folder again."""

    def __init__(self, server: Server, place: Place) -> None:
        self.server, self.place = server, place
        self.device = server.device
        _, held = server.pool.find(place)
        self.config: AdapterConfig = held.config
        self._lock = server.computing
        self._mine = local()

    @property
    def model(self) -> Tuned:  # type: ignore[override]
        """The model with this adapter in it; only within `alone` it stays so."""
        family, held = self.server.pool.find(self.place)
        with self._lock:
            return family.occupy(held)

    @contextmanager
    def alone(self) -> Generator[None]:
        with super().alone():
            before, self._mine.alone = self._is_alone, True
            try:
                yield
            finally:
                self._mine.alone = before

    @property
    def _is_alone(self) -> bool:
        return getattr(self._mine, "alone", False)

    def _segmented(self, points: np.ndarray, category: int, raw: bool) -> Segmentation:
        with self.alone():  # the model is looked up before it is asked
            return super()._segmented(points, category, raw)

    def _answer(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        family, held = self.server.pool.find(self.place)
        if self._is_alone:  # the queue's thread would wait for this one
            logits, centres = family.answer([held] * len(batch), batch)
            return logits.cpu(), centres
        logits, centres = self.server.queue.ask(family, held, batch)
        return logits, centres.to(self.device)
