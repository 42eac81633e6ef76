"""Point grouping on CUDA: one program per cloud samples, one per centre searches, with the points in registers.

The same indices as every other backend: no fused multiply-add, the lowest index first among equals, and distances
compared by their bits, which for non-negative floats are in the order of the floats. Nothing waits for the device, so
both kernels can be captured in a CUDA graph. With TRITON_INTERPRET=1 they run on the CPU, slowly: so they are tested.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

# pyright: basic, reportMissingImports=false, reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false

MOST_POINTS = 16384
"""Of larger clouds the points would not fit into the registers of one program."""


@triton.jit(do_not_specialize=["count"])
def farthest_kernel(
    points, chosen, count, groups: tl.constexpr, skip_origin: tl.constexpr, origin: tl.constexpr, block: tl.constexpr
):
    """chosen (B, groups) int64 of points (B, count, 3) float32; program b does cloud b."""
    cloud = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, block)
    inside = lane < count
    base = points + cloud * count * 3
    x = tl.load(base + 3 * lane, mask=inside, other=0.0)
    y = tl.load(base + 3 * lane + 1, mask=inside, other=0.0)
    z = tl.load(base + 3 * lane + 2, mask=inside, other=0.0)
    running = tl.where(inside, float("inf"), -2.0)  # below every distance, and below points that are skipped
    if skip_origin:
        running = tl.where(inside & ((x * x + y * y) + z * z < origin), -1.0, running)
    current = count * 0
    for g in range(groups):
        tl.store(chosen + cloud * groups + g, current)
        dx = x - tl.load(base + 3 * current)
        dy = y - tl.load(base + 3 * current + 1)
        dz = z - tl.load(base + 3 * current + 2)
        running = tl.minimum(running, (dx * dx + dy * dy) + dz * dz)
        # The bound matters only for coordinates that are not numbers: even then nothing outside is read.
        current = tl.minimum(tl.argmax(running, 0, tie_break_left=True), count - 1)


@triton.jit(do_not_specialize=["count"])
def nearest_kernel(points, chosen, index, count, groups: tl.constexpr, size: tl.constexpr, block: tl.constexpr):
    """index (B, groups, size) int64, ascending, of the points nearest to centre g of cloud b, for program (g, b)."""
    cloud, g = tl.program_id(1).to(tl.int64), tl.program_id(0)
    lane = tl.arange(0, block)
    inside = lane < count
    base = points + cloud * count * 3
    centre = tl.load(chosen + cloud * groups + g)
    dx = tl.load(base + 3 * lane, mask=inside, other=0.0) - tl.load(base + 3 * centre)
    dy = tl.load(base + 3 * lane + 1, mask=inside, other=0.0) - tl.load(base + 3 * centre + 1)
    dz = tl.load(base + 3 * lane + 2, mask=inside, other=0.0) - tl.load(base + 3 * centre + 2)
    bits = ((dx * dx + dy * dy) + dz * dz).to(tl.int32, bitcast=True)
    bits = tl.where(inside, bits, 0x7FFFFFFF)
    # The size-th smallest distance by bisection: the smallest limit that at least `size` distances do not exceed.
    low, high = count * 0, count * 0 + 0x7F800000
    for _ in range(31):
        middle = low + (high - low) // 2
        enough = tl.sum((bits <= middle).to(tl.int32), 0) >= size
        high = tl.where(enough, middle, high)
        low = tl.where(enough, low, tl.minimum(middle + 1, high))
    nearer = bits < high
    left = size - tl.sum(nearer.to(tl.int32), 0)
    equal = (bits == high) & inside
    taken = nearer | (equal & (tl.cumsum(equal.to(tl.int32), 0) <= left))
    place = tl.cumsum(taken.to(tl.int32), 0) - 1
    tl.store(index + (cloud * groups + g) * size + place, lane, mask=taken & (place < size))


def group_on_device(points: Tensor, groups: int, size: int, skip_origin: bool, origin: float) -> tuple[Tensor, Tensor]:
    """Centre indices (B, groups) and, ascending, neighbour indices (B, groups, size), int64, where the points are.

    points (B, N, 3) float32, contiguous, finite, N <= MOST_POINTS; groups, size <= N; size 0 leaves the neighbours
    out; `origin` is the squared norm below which `skip_origin` never selects.
    """
    clouds, count, _ = points.shape
    chosen = torch.empty(clouds, groups, dtype=torch.int64, device=points.device)
    # Zeros, not whatever lies there: of coordinates that are not numbers fewer than `size` neighbours may be found.
    index = torch.zeros(clouds, groups, size, dtype=torch.int64, device=points.device)
    if clouds == 0:
        return chosen, index
    block = max(32, triton.next_power_of_2(count))
    with torch.cuda.device(points.device) if points.is_cuda else nullcontext():
        farthest_kernel[(clouds,)](
            *(points, chosen, count, groups, skip_origin, origin, block),
            num_warps=min(16, max(1, block // 256)),
            enable_fp_fusion=False,
        )
        if size:
            nearest_kernel[(groups, clouds)](
                *(points, chosen, index, count, groups, size, block),
                num_warps=min(8, max(1, block // 1024)),
                enable_fp_fusion=False,
            )
    return chosen, index
