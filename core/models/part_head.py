"""From tokens of several depths to the part of every point (Point-MAE, ECCV 2022, section 4.2; its `segmentation/`).

Shapes: B clouds, N points, G patches, D width, V levels (depths that are read), P parts of all categories together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .head import HeadConfig, Part, pool

_NEIGHBOURS = 3
_CLOSEST = 1e-8
"""Added to squared distances, as published: a point that is a centre takes that centre's features."""


class PartHead(nn.Module):
    """Levels of tokens (V times (B, L, D)), points (B, N, 3) and centres (B, G, 3) in, logits (B, N, P) out.

    Each point learns three things: its place and the features of the three nearest centres, mixed by two layers; what
    `parts` pool of the whole cloud at each level; and the category, an embedding of its number.

    Two published products of N points are made of fewer: what the nearest centres' features become in the first layer
    is made once per centre and then mixed, and what is the same for all points of a cloud enters the layers behind
    once per cloud. So no feature of all levels is ever stored per point: at the published sizes training keeps 65 MB
    for each cloud of 2,048 points in float32, 1.0 GB for 16 (measured; the backbone keeps as much again).
    """

    def __init__(
        self,
        config: HeadConfig,
        parts: tuple[Part, ...],
        dim: int,
        levels: int,
        *,
        categories: int,
        outputs: int,
        lead: int,
    ) -> None:
        super().__init__()
        self.parts, self.categories, self.lead = parts, categories, lead
        hidden, width = config.hidden, levels * dim
        label = max(1, hidden // 4)
        self.label = nn.Sequential(nn.Linear(categories, label, bias=False), nn.BatchNorm1d(label), nn.LeakyReLU(0.2))
        self.near = nn.Sequential(
            nn.Linear(3 + width, 4 * dim),
            nn.BatchNorm1d(4 * dim),
            nn.ReLU(),
            nn.Linear(4 * dim, 4 * hidden),
            nn.BatchNorm1d(4 * hidden),
            nn.ReLU(),
        )
        self.layers = nn.Sequential(
            nn.Linear(4 * hidden + len(parts) * width + label, 2 * hidden),
            nn.BatchNorm1d(2 * hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, outputs),
        )

    def forward(self, levels: list[Tensor], points: Tensor, centres: Tensor, category: Tensor | None) -> Tensor:
        """Return logits (B, N, P). `category` (B,) int64; None: the category is not known.

        The points need not be those that the levels were made of.
        """
        b, n, patches = len(points), points.shape[1], centres.shape[1]
        features = torch.cat([tokens[:, -patches:] for tokens in levels], dim=-1)
        near = self._near(features, points, centres)
        whole = [pool(tokens, part, patches, self.lead) for part in self.parts for tokens in levels]
        whole.append(self.label(self._one_hot(category, points)).to(features.dtype))
        first: nn.Linear = self.layers[0]  # type: ignore[assignment]
        width = near.shape[-1]
        each = F.linear(near, first.weight[:, :width]).view(b, n, -1)
        same = F.linear(torch.cat(whole, dim=-1), first.weight[:, width:], first.bias)
        return self.layers[1:]((each + same[:, None]).flatten(0, 1)).view(b, n, -1)

    def _near(self, features: Tensor, points: Tensor, centres: Tensor) -> Tensor:
        """Return (B·N, ·) of features (B, G, V·D) at the nearest centres and of each point's own place."""
        first: nn.Linear = self.near[0]  # type: ignore[assignment]
        at_centres = F.linear(features, first.weight[:, 3:])
        mixed = torch.bmm(nearest_weights(points, centres).to(at_centres.dtype), at_centres)
        place = F.linear(points, first.weight[:, :3], first.bias)
        return self.near[1:]((mixed + place).flatten(0, 1))

    def _one_hot(self, category: Tensor | None, points: Tensor) -> Tensor:
        if category is None:
            return points.new_zeros(len(points), self.categories)
        return F.one_hot(category, self.categories).to(points.dtype)


@torch.no_grad()
def nearest_weights(points: Tensor, centres: Tensor) -> Tensor:
    """Return (B, N, G): how much of each centre a point takes, of its three nearest by 1 / (squared distance + 1e-8).

    Zero elsewhere, one in sum. As a matrix the mixing is one product, of which the gradient adds up in a fixed order.
    """
    squared = sum((points[:, :, None, axis] - centres[:, None, :, axis]).square() for axis in range(points.shape[-1]))
    assert isinstance(squared, Tensor)
    nearest = squared.topk(min(_NEIGHBOURS, centres.shape[1]), dim=2, largest=False)
    share = 1 / (nearest.values + _CLOSEST)
    return torch.zeros_like(squared).scatter_(2, nearest.indices, share / share.sum(dim=2, keepdim=True))
