"""How a cloud becomes patches: centres by farthest point sampling, and the nearest points of each centre.

Every backend gives the same indices, bit for bit: squared distances are ((dx*dx + dy*dy) + dz*dz) in float32 without
fused multiply-add, and among equals the lowest index wins. Numba's serves the CPU, Triton's CUDA, plain torch all else.

Coordinates that are not finite are refused on the CPU. On other devices nobody looks at them here, because looking
means waiting for the device in every step: whoever brings points there checks them once, with `require_finite`.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import UserError

ORIGIN = 1e-3
"""Squared distance from the origin up to which the published CUDA sampler never selects a point."""


class Groups(NamedTuple):
    """Patches of a batch: B clouds, G groups of K points.

    centres (B, G, 3) float32; index (B, G, K) int64, the K nearest points of each centre, the centre itself included
    unless K or more lower-numbered points coincide with it, in no particular order; centre_index (B, G) int64.
    """

    centres: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] - the tuple's own search is never wanted here
    centre_index: Tensor


def group(points: Tensor, groups: int, size: int, *, skip_origin: bool = False) -> Groups:
    """Split each cloud into `groups` overlapping patches of `size` points.

    points (B, N, 3), any device; `skip_origin` as in `farthest_points`. The result lies on the device of `points`, and
    gradients reach `points` through the centres. UserError if groups or size is not in 1..N, or on the CPU a coordinate
    is not finite.
    """
    _check(points, "groups", groups)
    _check(points, "points per group", size)
    _check_here(points)
    plain = points.detach().float()
    chosen, index = _select(plain, groups, size, skip_origin)
    centres = points.float().gather(1, chosen.unsqueeze(-1).expand(-1, -1, 3))
    return Groups(centres, index, chosen)


def farthest_points(points: Tensor, count: int, *, skip_origin: bool = False) -> Tensor:
    """Exact greedy farthest point sampling from point 0: indices (B, count) int64.

    points (B, N, 3). Once every distinct point is taken, index 0 (with `skip_origin`, the lowest eligible one) repeats.
    `skip_origin` reproduces the CUDA kernel of pointnet2_ops, under which published models were trained: except for
    the first, points with squared norm <= 1e-3 are never selected. UserError if count is not in 1..N, or on the CPU a
    coordinate is not finite.
    """
    _check(points, "sampled points", count)
    _check_here(points)
    return _select(points.detach().float(), count, 0, skip_origin)[0]


@torch.no_grad()
def nearest(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """The k nearest points of each query, in no particular order: indices (B, G, k) int64.

    queries (B, G, C), points (B, N, C), finite, same device; exact squared distances from coordinate differences, not
    from the expanded product, which cancels far from the origin. UserError if k is not in 1..N.
    """
    _check(points, "nearest points", k)
    queries, points = queries.detach().float(), points.detach().float()
    clouds, count, channels = points.shape
    order = torch.arange(count, device=points.device)
    found = torch.empty(clouds, queries.shape[1], k, dtype=torch.int64, device=points.device)
    # The sort keys of one slice of queries stay near 64 MiB, whatever the batch.
    step = queries.shape[1] if torch.compiler.is_exporting() else max(1, 2**23 // max(1, clouds * count))
    for start in range(0, queries.shape[1], step):
        part = queries[:, start : start + step]
        squares = torch.zeros(clouds, part.shape[1], count, device=points.device)
        for c in range(channels):
            squares += (part[:, :, None, c] - points[:, None, :, c]).square_()
        # Bits of non-negative floats are in the order of the floats; with the index below them no two keys are equal,
        # so that topk has no ties to break in its own way.
        keys = squares.view(torch.int32).to(torch.int64).bitwise_left_shift_(32).bitwise_or_(order)
        found[:, start : start + step] = keys.topk(k, dim=-1, largest=False, sorted=False).indices
    return found


def _select(points: Tensor, groups: int, size: int, skip_origin: bool) -> tuple[Tensor, Tensor]:
    """Centre indices (B, groups) and neighbour indices (B, groups, size), by the backend for the device."""
    if torch.compiler.is_exporting():
        return select_in_torch(points, groups, size, skip_origin)  # the others are no operations of PyTorch
    if points.device.type == "cpu":
        try:
            from .grouping_numba import group_clouds
        except ImportError as error:
            warnings.warn(f"Grouping runs in plain torch, about 30 times slower: {error}", RuntimeWarning, stacklevel=3)
        else:
            array = points.contiguous().numpy()
            chosen, index = group_clouds(array, groups, size, skip_origin, torch.get_num_threads())
            return torch.as_tensor(chosen), torch.as_tensor(index)
    elif points.device.type == "cuda":
        try:
            from .grouping_triton import MOST_POINTS, group_on_device
        except ImportError as error:
            warnings.warn(f"Grouping runs in plain torch, many times slower: {error}", RuntimeWarning, stacklevel=3)
        else:
            if points.shape[1] <= MOST_POINTS:
                return group_on_device(points.contiguous(), groups, size, skip_origin, ORIGIN)
    return select_in_torch(points, groups, size, skip_origin)


@torch.no_grad()
def select_in_torch(points: Tensor, groups: int, size: int, skip_origin: bool) -> tuple[Tensor, Tensor]:
    """The backend that every other must equal: centre indices (B, groups) and neighbour indices (B, groups, size).

    points (B, N, 3) float32, finite, any device; groups, size <= N; size 0 leaves the neighbours out.
    """
    planes = points.permute(2, 0, 1).contiguous()
    running = torch.full_like(planes[0], torch.inf)
    if skip_origin:
        x, y, z = planes.square()
        # The sampler compares with the double 1e-3; "up to" that equals "below" its float32 rounding, used here.
        running[(x + y) + z < ORIGIN] = -1.0
    # Not len(points): that would fix the batch of a program that is traced from this.
    chosen = torch.empty(points.shape[0], groups, dtype=torch.int64, device=points.device)
    current = torch.zeros(points.shape[0], 1, dtype=torch.int64, device=points.device)
    for g in range(groups):
        chosen[:, g : g + 1] = current
        x, y, z = (planes - planes.gather(2, current.expand(3, -1, -1))).square_()
        torch.minimum(running, x.add_(y).add_(z), out=running)
        current = running.argmax(1, keepdim=True)
    if size == 0:
        return chosen, chosen.new_empty(*chosen.shape, 0)
    return chosen, nearest(points.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 3)), points, size)


def _check(points: Tensor, what: str, wanted: int) -> None:
    if points.dim() != 3:
        raise ValueError(f"points must be (clouds, points, coordinates), got shape {tuple(points.shape)}")
    count = points.shape[1]
    if not 1 <= wanted <= count:
        raise UserError(
            f"The number of {what} does not fit clouds of {count} points",
            got=wanted,
            expected=f"1 to {count}",
            remedy="Give the clouds more points, or lower that number",
        )


def _check_here(points: Tensor) -> None:
    if points.shape[2] != 3:
        raise ValueError(f"points must have 3 coordinates, got {points.shape[2]}")
    if points.device.type == "cpu" and not torch.compiler.is_exporting():
        require_finite(points)


def require_finite(points: Tensor) -> None:
    """UserError that names the first point of clouds (B, N, C) that is NaN or infinite; waits for their device."""
    # One sum is nearly free; only when it is not finite, which huge values may also cause, look at every coordinate.
    if bool(points.detach().sum().isfinite()):
        return
    bad = ~points.detach().isfinite().all(dim=2)
    if bool(bad.any()):
        cloud, point = (int(i) for i in bad.nonzero()[0])
        raise UserError(
            f"Point {point} of cloud {cloud} is not a finite position ({int(bad.sum())} such points in this batch)",
            got=tuple(float(value) for value in points.detach()[cloud, point]),
            remedy="Remove NaN and infinite coordinates from the cloud",
        )
