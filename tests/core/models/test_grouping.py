"""Grouping is exact: every backend against a brute-force search, on the clouds that break careless ones."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pointsmith.core.errors import UserError
from pointsmith.core.models.grouping import farthest_points, group, nearest, select_in_torch

from tests.support.grouping_clouds import CLOUDS, at_the_threshold, brute_force, normal
from tests.support.processes import PATIENCE, join


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("skip_origin", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_equal_to_brute_force(name: str, skip_origin: bool, threads: int) -> None:
    points, groups, size = CLOUDS[name]
    centres, index = brute_force(points, groups, size, skip_origin)
    made = group(torch.from_numpy(points), groups, size, skip_origin=skip_origin)
    assert made.centres.dtype == torch.float32
    assert made.index.dtype == made.centre_index.dtype == torch.int64
    np.testing.assert_array_equal(made.centre_index.numpy(), centres)
    np.testing.assert_array_equal(made.index.sort(-1).values.numpy(), index)
    np.testing.assert_array_equal(made.centres.numpy(), np.take_along_axis(points, centres[..., None], 1))
    sampled = farthest_points(torch.from_numpy(points), groups, skip_origin=skip_origin)
    np.testing.assert_array_equal(sampled.numpy(), centres)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("skip_origin", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_torch_backend_equal_to_brute_force(name: str, skip_origin: bool) -> None:
    points, groups, size = CLOUDS[name]
    centres, index = brute_force(points, groups, size, skip_origin)
    chosen, neighbours = select_in_torch(torch.from_numpy(points), groups, size, skip_origin)
    np.testing.assert_array_equal(chosen.numpy(), centres)
    np.testing.assert_array_equal(neighbours.sort(-1).values.numpy(), index)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("skip_origin", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_cuda_equal_to_cpu(name: str, skip_origin: bool) -> None:
    points, groups, size = CLOUDS[name]
    there = group(torch.from_numpy(points).cuda(), groups, size, skip_origin=skip_origin)
    here = group(torch.from_numpy(points), groups, size, skip_origin=skip_origin)
    assert there.index.is_cuda
    assert torch.equal(there.centre_index.cpu(), here.centre_index)
    assert torch.equal(there.index.sort(-1).values.cpu(), here.index.sort(-1).values)


def test_origin_threshold_is_the_double_one() -> None:
    """Only the point whose squared norm is up to the double 1e-3 is skipped; its float32 neighbour above is not."""
    points = at_the_threshold()
    for cloud, second in ((points, 2), (points[:, :2], 0)):
        assert farthest_points(cloud, 2, skip_origin=True).tolist() == [[0, second]]
        assert select_in_torch(cloud, 2, 0, True)[0].tolist() == [[0, second]]


def test_any_strides() -> None:
    wide = torch.from_numpy(normal(6, 200, 7))
    view = wide[::2, :, 1:4].flip(1)
    transposed = view.transpose(1, 2).contiguous().transpose(1, 2)
    expected = group(view.contiguous(), 12, 8)
    for points in (wide[::2, :, 1:4].flip(1), transposed):
        made = group(points, 12, 8)
        assert torch.equal(made.centre_index, expected.centre_index)
        assert torch.equal(made.index, expected.index)


def test_input_is_left_alone_and_centres_carry_gradients() -> None:
    points = torch.from_numpy(normal(2, 60, 3)).requires_grad_()
    before = points.detach().clone()
    made = group(points, 6, 4)
    made.centres.sum().backward()
    assert torch.equal(points.detach(), before)
    assert points.grad is not None
    assert points.grad.sum() == 2 * 6 * 3


def test_empty_batch() -> None:
    made = group(torch.empty(0, 50, 3), 5, 4)
    assert made.centres.shape == (0, 5, 3)
    assert made.index.shape == (0, 5, 4)
    assert select_in_torch(torch.empty(0, 50, 3), 5, 4, False)[1].shape == (0, 5, 4)


def test_nearest_other_queries_and_channels() -> None:
    queries, points = normal(2, 9, 5), normal(2, 33, 5)
    squares = np.zeros((2, 9, 33), np.float32)
    for c in range(5):
        squares += (queries[:, :, None, c] - points[:, None, :, c]) ** 2
    expected = np.sort(np.argsort(squares, -1, kind="stable")[..., :6], -1)
    found = nearest(torch.from_numpy(queries), torch.from_numpy(points), 6)
    np.testing.assert_array_equal(found.sort(-1).values.numpy(), expected)


def test_nearest_in_slices() -> None:
    """So many pairs that the search runs over several slices of queries."""
    points = torch.from_numpy(normal(2, 6000, 3))
    queries = points[:, :1000]
    found = nearest(queries, points, 1)[..., 0]
    assert torch.equal(found, torch.arange(1000).expand(2, -1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_not_finite_is_refused(value: float) -> None:
    points = torch.zeros(3, 20, 3)
    points[2, 7, 1] = value
    for call in (lambda: group(points, 4, 4), lambda: farthest_points(points, 4)):
        with pytest.raises(UserError, match=r"Point 7 of cloud 2 .*1 such points"):
            call()


def test_opposite_infinities_are_refused() -> None:
    points = torch.zeros(1, 20, 3)
    points[0, 3, 0], points[0, 4, 0] = float("inf"), float("-inf")
    with pytest.raises(UserError, match="2 such points"):
        group(points, 4, 4)


@pytest.mark.parametrize(("groups", "size"), [(21, 4), (4, 21), (0, 4), (4, 0), (-1, 4)])
def test_numbers_that_do_not_fit(groups: int, size: int) -> None:
    with pytest.raises(UserError, match=r"clouds of 20 points.*Expected 1 to 20"):
        group(torch.zeros(2, 20, 3), groups, size)


def test_other_numbers_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="nearest points"):
        nearest(torch.zeros(1, 2, 3), torch.zeros(1, 5, 3), 6)
    with pytest.raises(UserError, match="sampled points"):
        farthest_points(torch.zeros(1, 5, 3), 6)


def test_concurrent_callers(threads: int) -> None:
    """Several Python threads at once, each with its own clouds, as in the web process."""
    batches = [torch.from_numpy(normal(4, 256 + i, 3)) for i in range(6)]
    expected = [group(batch, 16, 12) for batch in batches]
    wrong: list[int] = []
    gate = threading.Barrier(len(batches))

    def call(i: int) -> None:
        gate.wait(PATIENCE)
        for _ in range(20):
            made = group(batches[i], 16, 12)
            if not (torch.equal(made.index, expected[i].index) and torch.equal(made.centres, expected[i].centres)):
                wrong.append(i)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(len(batches))]
    for caller in callers:
        caller.start()
    join(callers)
    assert not wrong
    assert torch.get_num_threads() == threads


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.from_numpy(normal(2, 100, 3))
    compiled = group(points, 10, 8)
    monkeypatch.setitem(sys.modules, "pointsmith.core.models.grouping_numba", None)
    with pytest.warns(RuntimeWarning, match="plain torch"):
        plain = group(points, 10, 8)
    assert torch.equal(plain.centre_index, compiled.centre_index)
    assert torch.equal(plain.index.sort(-1).values, compiled.index.sort(-1).values)


def in_new_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CALL = """
import torch
from pointsmith.core.models.grouping import group
print(group(torch.arange(60.0).reshape(1, 20, 3), 2, 3).centre_index.tolist())
from pointsmith.core.models.grouping_numba import _group_range
print(sum(_group_range.stats.cache_hits.values()), len(_group_range.overloads))
"""


def test_second_process_does_not_compile(tmp_path: Path) -> None:
    first = in_new_process(CALL, NUMBA_CACHE_DIR=str(tmp_path))
    second = in_new_process(CALL, NUMBA_CACHE_DIR=str(tmp_path))
    assert first.split("\n")[:2] == ["[[0, 19]]", "0 1"]
    assert second.split("\n")[:2] == ["[[0, 19]]", "1 1"]


def test_works_where_no_cache_can_be_written() -> None:
    """numba tries a folder by making a temporary file in it."""
    refuse = """
import tempfile
def refuse(*args, **kwargs):
    raise PermissionError("read-only")
tempfile.TemporaryFile = refuse
"""
    assert in_new_process(refuse + CALL, NUMBA_OPT="0").startswith("[[0, 19]]\n0 1")


def test_import_compiles_nothing() -> None:
    code = """
import sys
from pointsmith.core.models import grouping
print("numba" in sys.modules)
from pointsmith.core.models import grouping_numba
print(len(grouping_numba._group_range.overloads))
"""
    assert in_new_process(code).split() == ["False", "0"]
