"""Compiled point grouping for the CPU: farthest points and their neighbours in one sweep over each cloud.

A squared distance is a non-negative float, and the bits of such floats, read as int32, are in the same order. All
comparisons below are therefore integer ones: LLVM vectorises an integer minimum or maximum, but not a float one, whose
NaN rule it must keep. Nothing is compiled when this module is imported; the first call compiles, later processes load
the result from numba's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir  # pyright: ignore[reportMissingTypeStubs]
from numba import njit, types
from numba.extending import intrinsic

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportCallIssue=false

BLOCK = 128
"""Points per vectorised inner loop; clouds are padded to a multiple of it, or of the lanes of a neighbour search."""

INFINITY = np.int32(0x7F800000)
"""The bits of float32 infinity: above every finite distance."""

ABOVE = np.int32(0x7FFFFFFF)
"""Above every limit, infinity included."""

NEVER = np.int32(-1)
"""Running distance of a point that must not be selected: below every distance, and a minimum keeps it."""


def group_clouds(
    points: np.ndarray, groups: int, size: int, skip_origin: bool, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Farthest points and the `size` nearest points of each, cloud by cloud on up to `threads` threads.

    points (B, N, 3) float32, finite, any strides; groups, size <= N; size 0 leaves the neighbours out.
    Returns centre indices (B, groups) and neighbour indices (B, groups, size), both int64.
    """
    clouds = len(points)
    centres = np.empty((clouds, groups), np.int64)
    neighbours = np.empty((clouds, groups, size), np.int64)

    def work(start: int, stop: int) -> None:
        _group_range(points, start, stop, skip_origin, centres, neighbours)

    # Not numba's own threads: its OpenMP layer resets torch's thread count, and its workqueue layer aborts the process
    # when two Python threads enter it at once. The kernel releases the GIL, so plain threads do, made per call because
    # a kept pool would not survive a fork. The caller takes the first share itself.
    workers = max(1, min(threads, clouds))
    bounds = [clouds * i // workers for i in range(workers + 1)]
    if workers == 1:
        work(0, clouds)
        return centres, neighbours
    with ThreadPoolExecutor(workers - 1, thread_name_prefix="grouping") as pool:
        others = [pool.submit(work, *share) for share in pairwise(bounds[1:])]
        work(*bounds[:2])
        for other in others:
            other.result()
    return centres, neighbours


def cached(function: Callable[..., Any]) -> Any:
    """Compile on the first call and keep the result on disk, or only in memory where no folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found neither a writable __pycache__ nor a writable user cache
        return njit(nogil=True)(function)


@njit(nogil=True)
def _sweep(x, y, z, running, row, cx, cy, cz):
    """Distances of all points to one centre into `row`; shrinks `running`; returns the next farthest point."""
    best, where = np.int32(-2), 0
    for start in range(0, len(x), BLOCK):
        # Slices, so that the inner loop counts from zero without wrap-around: otherwise LLVM leaves it scalar.
        end = start + BLOCK
        xs, ys, zs, runs, rows = x[start:end], y[start:end], z[start:end], running[start:end], row[start:end]
        top = np.int32(-2)
        for i in range(BLOCK):
            dx, dy, dz = xs[i] - cx, ys[i] - cy, zs[i] - cz
            bits = np.float32((dx * dx + dy * dy) + dz * dz).view(np.int32)
            rows[i] = bits
            left = min(runs[i], bits)
            runs[i] = left
            top = max(top, left)
        if top > best:  # strictly: the first of equal blocks keeps the lowest index
            best, where = top, start
    runs = running[where : where + BLOCK]
    found = np.int32(BLOCK)
    for i in range(BLOCK):
        found = min(found, np.int32(i) if runs[i] == best else np.int32(BLOCK))
    return where + found


@njit(nogil=True)
def _count(values, limit):
    count = np.int32(0)
    for i in range(len(values)):
        count = np.int32(count + (values[i] <= limit))
    return count


@njit(nogil=True)
def _limit(values, low, high, least, most):
    """By bisection, a limit that `least` to `most` of `values` do not exceed; the smallest with `least` if ties forbid.

    At least `least` values must not exceed `high`; `low` must not be above the smallest one.
    """
    while low < high:
        middle = np.int32(low + (high - low) // 2)  # numba widens sums to int64, which halves the vectors
        count = _count(values, middle)
        if count < least:
            low = np.int32(middle + 1)
        else:
            high = middle
            if count <= most:
                break
    return high


@njit(nogil=True)
def _lane_limit(row, lanes, size):
    """A limit that at least `size` values of `row` do not exceed, and few more: from the minima of strided lanes.

    Each lane whose minimum is within the limit holds one such value, and lanes do not overlap.
    """
    width = len(lanes)
    if len(row) < 2 * width:
        return INFINITY
    for j in range(width):
        lanes[j] = row[j]
    for start in range(width, len(row), width):
        part = row[start : start + width]
        for j in range(width):
            lanes[j] = min(lanes[j], part[j])
    high = np.int32(0)
    for j in range(width):
        high = max(high, lanes[j])
    return _limit(lanes, np.int32(0), high, size, size + size // 8)


@intrinsic
def _mask(_context, row, start, limit):
    """Bit j of the result: row[start + j] <= limit, for 64 values at once; `row` must be contiguous and long enough.

    As vector instructions by hand, because LLVM does not find them in a loop (ten times slower).
    """

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.gep(data, [arguments[1]])
        wide = ir.VectorType(ir.IntType(32), 64)
        values = builder.load(builder.bitcast(address, wide.as_pointer()), align=4)
        first = builder.insert_element(ir.Constant(wide, ir.Undefined), arguments[2], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 64), None)
        limits = builder.shuffle_vector(first, ir.Constant(wide, ir.Undefined), zeros)
        return builder.bitcast(builder.icmp_signed("<=", values, limits), ir.IntType(64))

    return types.uint64(row, types.int64, types.int32), emit


@intrinsic
def _lowest_bit(_context, mask):
    """Position of the lowest set bit of a mask that is not zero."""

    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


@njit(nogil=True)
def _nearest(row, lanes, bits, index, out):
    """Indices of the `len(out)` smallest values of `row`, the lowest index first among equals."""
    size = len(out)
    limit = _lane_limit(row, lanes, size)
    found = 0
    for start in range(0, len(row), 64):
        mask = _mask(row, start, limit)
        while mask != 0:
            i = start + _lowest_bit(mask)
            bits[found], index[found] = row[i], i
            found += 1
            mask &= mask - np.uint64(1)
    whole = (found + 63) // 64 * 64
    for i in range(found, whole):
        bits[i] = ABOVE
    limit = _limit(bits[:whole], np.int32(0), limit, size, size)
    ties = size - _count(bits[:whole], np.int32(limit - 1))
    kept = 0
    for i in range(found):  # in place and without branches, which no processor could predict here
        equal = np.int64(bits[i] == limit)
        index[kept] = index[i]
        kept += np.int64(bits[i] < limit) | (equal & np.int64(ties > 0))
        ties -= equal
    for i in range(size):  # a loop, as in the padding above: an assignment of slices compiles for seconds
        out[i] = index[i]


@cached
def _group_range(points, start, stop, skip_origin, centres, neighbours):
    """`group_clouds` for the clouds start to stop, on this thread."""
    count, groups, size = points.shape[1], centres.shape[1], neighbours.shape[2]
    width = 64
    while width < 2 * size:
        width *= 2
    step = width if count >= 2 * width > 2 * BLOCK else BLOCK
    padded = (count + step - 1) // step * step
    x, y, z = np.empty(padded, np.float32), np.empty(padded, np.float32), np.empty(padded, np.float32)
    running, row, lanes = np.empty(padded, np.int32), np.empty(padded, np.int32), np.empty(width, np.int32)
    bits, index = np.empty(padded, np.int32), np.empty(padded, np.int64)
    for b in range(start, stop):
        for i in range(count):
            x[i], y[i], z[i] = points[b, i, 0], points[b, i, 1], points[b, i, 2]
            # The published sampler compares with the double 1e-3: up to it is the same as below its float32 rounding.
            origin = (x[i] * x[i] + y[i] * y[i]) + z[i] * z[i] < np.float32(1e-3)
            running[i] = NEVER if skip_origin and origin else INFINITY
        for i in range(count, padded):  # infinitely far, never chosen, and last among equals
            x[i] = y[i] = z[i] = np.float32(np.inf)
            running[i] = NEVER
        centre = 0
        for g in range(groups):
            centres[b, g] = centre
            following = _sweep(x, y, z, running, row, x[centre], y[centre], z[centre])
            if size > 0:
                _nearest(row, lanes, bits, index, neighbours[b, g])
            centre = following
