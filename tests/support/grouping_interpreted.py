"""Run the CUDA kernels of point grouping on the CPU through Triton's interpreter; exits with 1 where one is not exact.

Run it as a process of its own, because TRITON_INTERPRET=1 must be set before Triton is imported:
`python -m tests.support.grouping_interpreted`.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from pointsmith.core.models.grouping import ORIGIN, select_in_torch
from pointsmith.core.models.grouping_triton import group_on_device

from tests.support.grouping_clouds import CLOUDS, at_the_threshold, brute_force, normal


def main() -> int:
    failed: list[object] = []
    for name, (points, groups, size) in CLOUDS.items():
        points, groups = points[:2], min(groups, 3)
        for skip_origin in (False, True):
            centres, index = brute_force(points, groups, size, skip_origin)
            chosen, found = group_on_device(torch.from_numpy(points).contiguous(), groups, size, skip_origin, ORIGIN)
            if not (np.array_equal(chosen.numpy(), centres) and np.array_equal(found.numpy(), index)):
                failed.append((name, skip_origin))
    # More centres than distinct points, so that the first repeats, and groups of 64.
    for points, groups, size in ((CLOUDS["duplicated"][0][:1], 60, 0), (normal(1, 70, 3), 10, 64)):
        chosen, found = group_on_device(torch.from_numpy(points).contiguous(), groups, size, False, ORIGIN)
        wanted, index = select_in_torch(torch.from_numpy(points), groups, size, False)
        if not (torch.equal(chosen, wanted) and torch.equal(found, index.sort(-1).values)):
            failed.append(("many", groups, size))
    cloud = at_the_threshold()
    for points, second in ((cloud, 2), (cloud[:, :2].contiguous(), 0)):
        if group_on_device(points, 2, 0, True, ORIGIN)[0].tolist() != [[0, second]]:
            failed.append(("threshold", second))
    broken = torch.full((1, 40, 3), torch.nan)
    chosen, found = group_on_device(broken, 4, 3, False, ORIGIN)  # refused elsewhere: here it must only stay inside
    if not all(0 <= index < 40 for index in (*chosen.flatten().tolist(), *found.flatten().tolist())):
        failed.append("not finite")
    if [len(part) for part in group_on_device(torch.empty(0, 9, 3), 2, 2, False, ORIGIN)] != [0, 0]:
        failed.append("empty batch")
    print(failed or "exact")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
