"""The same work as published code does it, in plain torch: what the benchmarks hold ours against.

Written from the facts about those publications, without any of the ways to do it faster; no run ever uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def farthest_points(points: Tensor, groups: int) -> Tensor:
    """Farthest points as usually batched: whole (B, N, 3) differences, masked update, maximum. Indices (B, G)."""
    clouds, count, _ = points.shape
    batch = torch.arange(clouds, device=points.device)
    chosen = torch.zeros(clouds, groups, dtype=torch.int64, device=points.device)
    distance = torch.full((clouds, count), 1e10, device=points.device)
    current = torch.zeros(clouds, dtype=torch.int64, device=points.device)
    for g in range(groups):
        chosen[:, g] = current
        squares = ((points - points[batch, current].unsqueeze(1)) ** 2).sum(-1)
        nearer = squares < distance
        distance[nearer] = squares[nearer]
        current = distance.max(-1)[1]
    return chosen


def rows(points: Tensor, index: Tensor) -> Tensor:
    """Return the points (B, G, 3) at index (B, G)."""
    return points.gather(1, index.unsqueeze(-1).expand(-1, -1, points.shape[-1]))


def nearest(queries: Tensor, points: Tensor, size: int) -> Tensor:
    """The `size` nearest points of each query by a full matrix of distances: indices (B, G, K)."""
    return torch.cdist(queries, points).topk(size, largest=False, sorted=False).indices


def group(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
    """Centre indices (B, G) and neighbour indices (B, G, K) by the two functions above."""
    chosen = farthest_points(points, groups)
    return chosen, nearest(rows(points, chosen), points, size)
