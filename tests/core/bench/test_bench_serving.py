"""The benchmarks of serving run at their small size, and what they compare answers alike."""

from __future__ import annotations

import pytest
from pointsmith.core.bench.harness import Options
from pointsmith.core.bench.registry import run


@pytest.mark.parametrize(
    "name",
    ["predict_b1", "predict_b32", "multi_adapter", pytest.param("cold_start", marks=pytest.mark.slow), "probe_cached"],
)
def test_runs_small(name: str) -> None:
    report = run(name, Options(rounds=1, small=True))
    assert report.rows and all(len(row) == len(report.columns) for row in report.rows)
    assert all(cell > 0 for row in report.rows for cell in row if isinstance(cell, float))
    if name.startswith("predict"):
        found = {(row[0], row[2]): float(str(row[6])) for row in report.rows if row[1] == "pointsmith"}
        assert all(moved <= (1e-4 if precision == "float32" else 0.1) for (_, precision), moved in found.items())
