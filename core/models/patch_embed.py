"""The mini-PointNet that turns each local group of points into one token."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Embed groups of centred points, (B, G, K, 3) to (B, G, D).

    Two shared layers, the group's maximum joined to every point, two more, the maximum again (Point-BERT, section 3;
    Point-MAE, section 3.1). Written with linear layers on the last axis: the published 1x1 convolutions, transposed.
    `token_dim` below `dim` adds Point-BERT's `reduce_dim` projection.
    """

    def __init__(self, dim: int, widths: tuple[int, int, int] = (128, 256, 512), token_dim: int | None = None) -> None:
        super().__init__()
        first, local, merged = widths
        out = token_dim or dim
        self.local = nn.Sequential(
            nn.Linear(3, first), nn.BatchNorm1d(first), nn.ReLU(inplace=True), nn.Linear(first, local)
        )
        self.merged = nn.Sequential(
            nn.Linear(2 * local, merged), nn.BatchNorm1d(merged), nn.ReLU(inplace=True), nn.Linear(merged, out)
        )
        self.reduce_dim = nn.Linear(out, dim) if out != dim else nn.Identity()

    def forward(self, groups: Tensor) -> Tensor:
        b, g, k, _ = groups.shape
        features = self.local(groups.reshape(-1, 3)).view(b * g, k, -1)
        pooled = features.amax(dim=1)
        joined: nn.Linear = self.merged[0]  # type: ignore[assignment]
        width = pooled.shape[-1]
        # The group's maximum is the same for all K points: its half of the product is computed once per group.
        whole = F.linear(pooled, joined.weight[:, :width], joined.bias)
        each = F.linear(features, joined.weight[:, width:])
        features = self.merged[1:](each.add_(whole[:, None]).flatten(0, 1)).view(b * g, k, -1)
        return self.reduce_dim(features.amax(dim=1)).view(b, g, -1)
