"""Voting: a model's answers to several random views of each cloud, averaged; a protocol of its own, said aloud."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..data.augment import AugmentConfig, augment, permute_points
from ..data.clouds import Clouds
from ..data.config import DataConfig, ModelNet40Data
from ..errors import UserError
from ..peft.tuned_model import Tuned

VIEW = AugmentConfig(kind="scale-shift")
"""How every view is changed, whatever the model was trained with."""


def require_votable(data: DataConfig) -> ModelNet40Data:
    """Return `data` where votes on them are of the published kind, or refuse them with the reason."""
    if not isinstance(data, ModelNet40Data):
        raise UserError(
            "Voting is a protocol of ModelNet40 alone",
            got=data.kind,
            expected="data of the kind modelnet40",
            remedy="Leave --vote out: on other data results are published without it",
        )
    if data.preparation.points == 2048:
        raise UserError(
            "Voting on clouds of 2,048 points was never published: the papers' code draws 1,024 of 1,200, 4,096 of "
            "4,800 or all 8,192 points, and refuses 2,048",
            remedy="Leave --vote out",
        )
    return data


@torch.inference_mode()
def vote(
    model: Tuned, clouds: Clouds, count: int, *, votes: int, seed: int, device: torch.device, batch_size: int = 64
) -> Tensor:
    """Return logits (S, C) float32, the mean over `votes` views of each cloud: `count` random points, scaled, shifted.

    The pools of `clouds` (S, N, 3) are the farthest 1,200 points for views of 1,024. One pass; the seed alone decides.
    Source: the voting of Point-BERT's and Point-MAE's released code, which repeats this 299 times and reports the
    largest accuracy found on the test set; that is not done here.
    """
    was_training = model.training
    model.eval()
    parts: list[Tensor] = []
    try:
        for begin in range(0, len(clouds), batch_size):
            pool = torch.from_numpy(np.ascontiguousarray(clouds.points[begin : begin + batch_size])).to(device)
            total: Tensor | None = None
            for view in range(votes):
                generator = torch.Generator(device).manual_seed(_number(seed, begin, view))
                answer = model(augment(permute_points(pool, count, generator), VIEW, generator)).float()
                total = answer if total is None else total + answer
            assert total is not None
            parts.append(total / votes)
    finally:
        model.train(was_training)
    return torch.cat(parts)


def _number(*parts: int) -> int:
    """Return one seed of several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
