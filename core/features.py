"""Features of a split before and after tuning, as the papers' figures map them: what the head reads of the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .config import RunConfig
from .data.dataset import Split
from .models.head import ClassificationHead, Part, pool
from .models.load import load_backbone
from .models.trunk import Trunk
from .predict import Predictor
from .tsne import squared_distances, tsne

MOST = 400
"""Inputs that are mapped, at most."""
_AT_ONCE = 16


@dataclass(frozen=True)
class FeatureMap:
    """Places (S, 2) of the inputs `index` (S,) of a split by the untuned backbone and after tuning, and their labels.

    `agree_before` and `agree_after` are the shares of inputs whose nearest neighbour in feature space is of their own
    class: the map's impression as a number.
    """

    index: np.ndarray
    labels: np.ndarray
    before: np.ndarray
    after: np.ndarray
    agree_before: float
    agree_after: float


def feature_map(predictor: Predictor, run: RunConfig, part: Split, most: int = MOST) -> FeatureMap:
    """Map inputs of a split, an even selection where there are more than `most`.

    UserError when the backbone's file is gone, or where there are too few inputs.
    """
    places: NDArray[np.float64] = np.linspace(0, len(part) - 1, min(most, len(part)), dtype=np.float64)
    index: NDArray[np.int64] = np.unique(np.rint(places)).astype(np.int64)
    chosen = part.take(index)
    shape, head = predictor.model.trunk.shape, predictor.model.head
    parts = head.parts if isinstance(head, ClassificationHead) else shape.pools
    with predictor.alone():
        after = _features(predictor.model.trunk, chosen, parts, predictor.device)
    untuned = load_backbone(run.backbone, seed=run.seed, positions="every-block").trunk.to(predictor.device).eval()
    before = _features(untuned, chosen, shape.pools, predictor.device)
    return FeatureMap(
        index=index,
        labels=chosen.labels,
        before=tsne(before),
        after=tsne(after),
        agree_before=_agreement(before, chosen.labels),
        agree_after=_agreement(after, chosen.labels),
    )


@torch.inference_mode()
def _features(trunk: Trunk, part: Split, pools: Sequence[Part], device: torch.device) -> NDArray[np.float64]:
    """Return (S, D) float64: the pooled tokens of every input."""
    feed = part.feed(device)
    found: list[Tensor] = []
    for inputs in feed.batches(np.array_split(np.arange(len(part)), -(-len(part) // _AT_ONCE))):
        # Points may bring the number of their part along.
        tokens = trunk(inputs[..., :3] if inputs.ndim == 3 else inputs)
        pooled = [pool(tokens, one, trunk.num_patches, trunk.shape.lead) for one in pools]
        found.append(torch.cat(pooled, dim=1).double().cpu())
    return torch.cat(found).numpy()


def _agreement(features: NDArray[np.float64], labels: np.ndarray) -> float:
    squared = squared_distances(features)
    np.fill_diagonal(squared, np.inf)
    return float((labels[squared.argmin(axis=1)] == labels).mean())
