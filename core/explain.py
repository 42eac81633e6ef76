"""Why an adapter answers as it does of one input: gates of an Adapter-X router or scales of DAPT, patch by patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .errors import UserError
from .peft.adapter_x import AdapterX
from .peft.dapt import DAPT
from .peft.routing import watching, watching_scales
from .predict import Picture, Prediction, Predictor, Segmentation


@dataclass(frozen=True)
class Explanation:
    """What the method decided for each patch of one input, block by block: K blocks, G patches.

    `gates` (K, G, h, N): the probabilities of N experts for each of a patch token's h sub-tokens; `scales` (K, G):
    DAPT's. The other one is None. `lead_gates` (K, h, N) and `lead_scales` (K,) are the class token's, None where
    there is none. `answer` is the prediction itself; its `patch` says which patch a point belongs to. Of an image
    `grid` is (rows, columns) of patches, counted row by row; of a cloud None.
    """

    answer: Prediction | Segmentation
    gates: np.ndarray | None
    scales: np.ndarray | None
    lead_gates: np.ndarray | None
    lead_scales: np.ndarray | None
    grid: tuple[int, int] | None

    @property
    def experts(self) -> np.ndarray | None:
        """(K, G) the expert that most of a patch's gate goes to, over its sub-tokens; None without gates."""
        return None if self.gates is None else self.gates.mean(axis=2).argmax(axis=2)


def explain(
    predictor: Predictor, given: Picture, *, category: str | None = None, raw: bool = False, name: str | None = None
) -> Explanation:
    """Predict one input and tell what the method decided on the way.

    `category` is the class of a cloud for an adapter of parts. UserError for a method that decides nothing per token,
    and as `Predictor.predict`.
    """
    method, shape = predictor.model.method, predictor.model.trunk.shape
    if not isinstance(method, (AdapterX, DAPT)):
        raise UserError(
            "This adapter decides nothing token by token",
            got=predictor.config.adapter_type,
            expected="adapter-x, adaptformer-x, dapt-x or dapt",
        )
    with predictor.alone(), watching(method, 1) as routes, watching_scales(method) as scales:
        answer = _answered(predictor, given, category, raw, name)
    gates = [one[0] for one in routes.gates] if routes else []
    noted = [one[0] for one in scales or []]
    patches = shape.patches
    return Explanation(
        answer=answer,
        gates=_of_patches(gates, patches),
        scales=_of_patches(noted, patches),
        lead_gates=_of_lead(gates, shape.lead),
        lead_scales=_of_lead(noted, shape.lead),
        grid=_grid(patches) if predictor.modality == "images" else None,
    )


def _answered(
    predictor: Predictor, given: Picture, category: str | None, raw: bool, name: str | None
) -> Prediction | Segmentation:
    names = [name] if name else None
    if predictor.answers == "classes":
        return predictor.predict([given], raw=raw, names=names)[0]
    if category is None:
        raise UserError("An adapter of parts must be told the cloud's category", remedy="Give `category`")
    if not isinstance(given, np.ndarray):
        raise UserError("This adapter reads point clouds", got=type(given).__name__, expected="an array (N, 3)")
    return predictor.segment([given], category, raw=raw, names=names)[0]


def _of_patches(blocks: list[Tensor], patches: int) -> np.ndarray | None:
    return torch.stack([one[-patches:] for one in blocks]).numpy() if blocks else None


def _of_lead(blocks: list[Tensor], lead: int) -> np.ndarray | None:
    return torch.stack([one[0] for one in blocks]).numpy() if blocks and lead else None


def _grid(patches: int) -> tuple[int, int]:
    side = round(patches**0.5)
    return side, patches // side
