"""Point grouping against its peers: `python tests/bench/grouping.py [threads] [rounds]`.

All contenders run in turn in one process on the same clouds; each line gives the minimum and the median in ms, whether
its result equals ours, and last how many times slower its minimum is than ours. Peers that are not installed are named
and left out. Ours includes the input check and, where there is one, the conversion from and to torch.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from pointsmith.core.models.grouping import farthest_points, group
from torch import Tensor

SHAPES = ((32, 2048, 128), (32, 1024, 64))
NEIGHBOURS = 32
OURS = "pointsmith"

Contender = Callable[[Tensor, int], "tuple[Tensor, Tensor | None]"]
"""Clouds and number of groups to centre indices and, where it searches neighbours, neighbour indices."""


def torch_farthest(points: Tensor, groups: int) -> Tensor:
    """The usual batched form: whole (B, N, 3) differences, masked update, maximum."""
    clouds, count, _ = points.shape
    batch = torch.arange(clouds)
    chosen = torch.zeros(clouds, groups, dtype=torch.int64)
    distance = torch.full((clouds, count), 1e10)
    current = torch.zeros(clouds, dtype=torch.int64)
    for g in range(groups):
        chosen[:, g] = current
        squares = ((points - points[batch, current].unsqueeze(1)) ** 2).sum(-1)
        nearer = squares < distance
        distance[nearer] = squares[nearer]
        current = distance.max(-1)[1]
    return chosen


def at(points: Tensor, index: Tensor) -> Tensor:
    return points.gather(1, index.unsqueeze(-1).expand(-1, -1, 3))


def torch_pair(points: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    chosen = torch_farthest(points, groups)
    return chosen, torch.cdist(at(points, chosen), points).topk(NEIGHBOURS, largest=False, sorted=False).indices


def samplers(missing: set[str]) -> dict[str, Contender]:
    found: dict[str, Contender] = {
        OURS: lambda points, groups: (farthest_points(points, groups), None),
        "batched torch": lambda points, groups: (torch_farthest(points, groups), None),
    }
    try:
        import fpsample

        def vanilla(points: Tensor, groups: int) -> tuple[Tensor, None]:
            chosen = [fpsample.fps_sampling(cloud, groups, start_idx=0) for cloud in points.numpy()]
            return torch.from_numpy(np.stack(chosen).astype(np.int64)), None

        found["fpsample vanilla"] = vanilla
    except ImportError:
        missing.add("fpsample")
    try:
        import torch_fps

        def compiled(points: Tensor, groups: int) -> tuple[Tensor, None]:
            valid, start = torch.ones(points.shape[:2], dtype=torch.bool), torch.zeros(len(points), dtype=torch.int64)
            return torch_fps.farthest_point_sampling(points, valid, groups, start_idx=start, assume_finite=True), None

        found["torch-fps"] = compiled
    except ImportError:
        missing.add("torch-fps")
    return found


def groupers(missing: set[str]) -> dict[str, Contender]:
    def ours(points: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        made = group(points, groups, NEIGHBOURS)
        return made.centre_index, made.index

    found: dict[str, Contender] = {OURS: ours, "batched torch + cdist, topk": torch_pair}
    try:
        import fpsample
        from pykdtree.kdtree import KDTree

        def trees(points: Tensor, groups: int) -> tuple[Tensor, Tensor]:
            chosen, index = [], []
            for cloud in points.numpy():
                chosen.append(fpsample.fps_sampling(cloud, groups, start_idx=0).astype(np.int64))
                index.append(KDTree(cloud).query(cloud[chosen[-1]], k=NEIGHBOURS)[1].astype(np.int64))
            return torch.from_numpy(np.stack(chosen)), torch.from_numpy(np.stack(index))

        found["fpsample + pykdtree"] = trees
    except ImportError as error:
        missing.add(str(error.name))
    try:
        import torch_fps

        def fused(points: Tensor, groups: int) -> tuple[Tensor, Tensor]:
            valid, start = torch.ones(points.shape[:2], dtype=torch.bool), torch.zeros(len(points), dtype=torch.int64)
            return torch_fps.farthest_point_sampling_with_knn(
                points, valid, groups, NEIGHBOURS, start_idx=start, assume_finite=True
            )

        found["torch-fps with neighbours"] = fused
    except ImportError:
        missing.add("torch-fps")
    return found


def equality(mine: tuple[Tensor, Tensor | None], other: tuple[Tensor, Tensor | None]) -> str:
    """Share of equal centres, and of groups that are equal as sets."""
    text = f"centres {100 * float((mine[0] == other[0]).double().mean()):5.1f} %"
    if mine[1] is not None and other[1] is not None:
        same = (mine[1].sort(-1).values == other[1].sort(-1).values).all(-1)
        text += f", groups {100 * float(same.double().mean()):5.1f} %"
    return text


def compare(title: str, contenders: dict[str, Contender], points: Tensor, groups: int, rounds: int) -> None:
    print(f"\n{title}, {len(points)} x {points.shape[1]} -> {groups}")
    results = {name: contender(points, groups) for name, contender in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender(points, groups)
            times[name].append(1000 * (time.perf_counter() - start))
    for name, measured in times.items():
        ratio = min(measured) / min(times[OURS])
        spread = f"min {min(measured):7.2f}  median {statistics.median(measured):7.2f} ms"
        print(f"  {name:28} {spread}   {equality(results[OURS], results[name])}   {ratio:5.1f}x")


def main() -> None:
    threads, rounds = (int(value) for value in (*sys.argv[1:], *("1", "15")[len(sys.argv) - 1 :]))
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    start = time.perf_counter()
    group(torch.randn(1, 64, 3, generator=generator), 2, 2)
    print(f"torch {torch.__version__}, {threads} thread(s), {rounds} rounds")
    print(
        f"first call (import of numba, and compilation or loading from its cache): {time.perf_counter() - start:.2f} s"
    )
    missing: set[str] = set()
    for clouds, count, groups in SHAPES:
        points = torch.randn(clouds, count, 3, generator=generator)
        compare("farthest points", samplers(missing), points, groups, rounds)
        compare(f"groups of {NEIGHBOURS}", groupers(missing), points, groups, rounds)
    for name in sorted(missing):
        print(f"not installed, left out: {name}")


if __name__ == "__main__":
    main()
