"""A loaded adapter that answers: clouds in, labels with probabilities out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .adapters import Adapter, AdapterConfig, load_adapter
from .data.clouds import Preparation, check_cloud, normalize
from .models.grouping import farthest_points
from .training.device import pick_device


@dataclass(frozen=True)
class Prediction:
    """What an adapter says of one cloud.

    `points` (N, 3) are what the model saw; `patch` (N,) the nearest patch centre of each; arrays over classes (C,).
    """

    label: str
    probabilities: np.ndarray
    logits: np.ndarray
    points: np.ndarray
    patch: np.ndarray
    total_points: int

    def top(self, classes: Sequence[str], count: int = 5) -> list[tuple[str, float]]:
        """Return the `count` most probable (class, probability), best first."""
        best: list[int] = np.argsort(-self.probabilities, kind="stable")[:count].tolist()
        return [(classes[i], float(self.probabilities[i])) for i in best]


def prepare(points: np.ndarray, preparation: Preparation, least: int, name: str = "The cloud") -> np.ndarray:
    """Return the model's input of a raw cloud: checked, the farthest `preparation.points` of it, normalised."""
    points = check_cloud(points, name, least)
    if len(points) > preparation.points:
        chosen = farthest_points(torch.from_numpy(points)[None], preparation.points)[0].numpy()
        points = points[chosen]
    return normalize(points, preparation.normalize)


class Predictor:
    """An adapter on a device. Calls from several threads wait for each other."""

    def __init__(self, adapter: Adapter, device: str = "cpu") -> None:
        self.device = pick_device(device)
        self.config: AdapterConfig = adapter.config
        self.model = adapter.built.model.to(self.device).eval()
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", backbone_weights: str | None = None) -> Predictor:
        """Load an adapter folder; UserError says what does not fit."""
        return cls(load_adapter(Path(folder), backbone_weights=backbone_weights), device)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.config.classes

    def predict(
        self, clouds: Sequence[np.ndarray], *, raw: bool = False, names: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return a prediction for each cloud (N, 3); `raw` takes the points as they are, without preparation.

        UserError names the cloud that has NaN, or fewer points than the backbone needs.
        """
        names = names or [f"cloud {i + 1}" for i in range(len(clouds))]
        least = self.config.run.backbone.least_points
        ready = [
            check_cloud(cloud, name, least) if raw else prepare(cloud, self.config.preparation, least, name)
            for cloud, name in zip(clouds, names)
        ]
        answers: list[Prediction | None] = [None] * len(ready)
        for size in sorted({len(cloud) for cloud in ready}):
            chosen = [i for i, cloud in enumerate(ready) if len(cloud) == size]
            for start in range(0, len(chosen), 32):
                part = chosen[start : start + 32]
                batch = self._answer(np.stack([ready[i] for i in part]), [len(clouds[i]) for i in part])
                for i, answer in zip(part, batch):
                    answers[i] = answer
        return [answer for answer in answers if answer is not None]

    @torch.inference_mode()
    def _answer(self, points: np.ndarray, totals: list[int]) -> list[Prediction]:
        batch = torch.from_numpy(points).to(self.device)
        with self._lock:
            tokens, centres = self.model.trunk.places(batch)
            logits = self.model.head(tokens, self.model.trunk.num_patches).float()
        nearest = torch.cdist(batch, centres).argmin(dim=2).cpu().numpy()
        probabilities = logits.softmax(dim=1).cpu().numpy()
        scores = logits.cpu().numpy()
        return [
            Prediction(
                self.classes[int(scores[i].argmax())], probabilities[i], scores[i], points[i], nearest[i], totals[i]
            )
            for i in range(len(points))
        ]
