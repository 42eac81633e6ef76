"""Which parts of an input an answer rests on: each is taken away in turn, and what the adapter then says is noted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import UserError
from .predict import Picture, Prediction, Predictor

SIDE = 7
"""An image is cut into so many squares a side: the answers needed grow with their number."""


@dataclass(frozen=True)
class Importance:
    """What taking each of G parts away does to an answer.

    `loss` (G,) is the probability that the answer's class loses, negative where it gains; `labels` (G,) the class that
    is then answered. Of a cloud a part is a patch, as numbered by `answer.patch`; of an image `grid` is (rows, columns)
    of squares, counted row by row, else None.
    """

    answer: Prediction
    loss: np.ndarray
    labels: tuple[str, ...]
    grid: tuple[int, int] | None

    @property
    def decisive(self) -> np.ndarray:
        """(G,) whether the answer is another one without the part."""
        return np.array([label != self.answer.label for label in self.labels])


def importance(predictor: Predictor, given: Picture, *, name: str | None = None) -> Importance:
    """Predict one input, and again without each of its parts, by an adapter that tells classes.

    A patch's points, those nearest to its centre, are taken out of the cloud that the model saw, and others repeated in
    their place so that as many remain; the model then makes new patches. A square of an image becomes its mean colour.
    UserError as `Predictor.predict`, and where a cloud is no more than one patch.
    """
    answer = predictor.predict([given], names=[name] if name else None)[0]
    if answer.patch is None:
        without, grid = _squares(answer.inputs), (SIDE, SIDE)
    else:
        without, grid = _clouds(answer.inputs, answer.patch, predictor.model.trunk.num_patches), None
    kept = [i for i, one in enumerate(without) if one is not None]
    again = predictor.predict([without[i] for i in kept], raw=True)  # type: ignore[misc]
    label = predictor.classes.index(answer.label)
    loss, labels = np.zeros(len(without), np.float32), [answer.label] * len(without)
    for i, one in zip(kept, again):
        loss[i] = answer.probabilities[label] - one.probabilities[label]
        labels[i] = one.label
    return Importance(answer, loss, tuple(labels), grid)


def _clouds(points: np.ndarray, patch: np.ndarray, patches: int) -> list[np.ndarray | None]:
    """Return the cloud (N, 3) without each patch, still of N points; None for a patch that no point is nearest to."""
    found: list[np.ndarray | None] = []
    for number in range(patches):
        rest = np.flatnonzero(patch != number)
        if not len(rest):
            raise UserError("All points of the cloud lie in one patch", remedy="Give a cloud with more distinct points")
        missing = len(points) - len(rest)
        # Evenly over what remains, so that no place gets denser than another.
        repeated = rest[np.linspace(0, len(rest) - 1, missing).astype(np.int64)]
        found.append(points[np.concatenate([rest, repeated])] if missing else None)
    return found


def _squares(image: np.ndarray) -> list[np.ndarray | None]:
    """Return the image (H, W, 3) uint8 with each square in its mean colour."""
    height, width = image.shape[:2]
    rows, columns = ([size * i // SIDE for i in range(SIDE + 1)] for size in (height, width))
    mean = image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    found: list[np.ndarray | None] = []
    for i in range(SIDE):
        for j in range(SIDE):
            changed = np.array(image)
            changed[rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = mean
            found.append(changed)
    return found
