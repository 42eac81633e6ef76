"""Clouds reach the browser small, exact to the step, and with an honest count."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from pointsmith.core.errors import UserError
from pointsmith.ui.viewer import LIMIT, payload


def decoded(value: dict) -> np.ndarray:
    """What viewer.js makes of a payload."""
    steps = np.frombuffer(base64.b64decode(value["points"]), dtype="<u2").reshape(-1, 3)
    low, high = np.array(value["low"]), np.array(value["high"])
    return low + steps / 65535 * (high - low)


def test_points_and_patches_survive() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 3)).astype(np.float32) * [1, 30, 0.01]
    patch = rng.integers(0, 64, 500)
    value = payload(points, 385_000, patch)
    extent = points.max(axis=0) - points.min(axis=0)
    assert (np.abs(decoded(value) - points) <= extent / 65535 * 0.51).all()
    assert np.array_equal(np.frombuffer(base64.b64decode(value["patches"]), dtype="<u2"), patch)
    assert (value["count"], value["total"]) == (500, 385_000)
    assert len(value["points"]) + len(value["patches"]) <= 500 * 8 * 4 / 3 + 8


def test_a_flat_cloud_stays_flat() -> None:
    points = np.array([[1, 2, 3], [1, 5, 3]], np.float32)
    assert np.allclose(decoded(payload(points, 2)), points)


def test_too_many_points_are_left_out_and_said() -> None:
    points = np.random.default_rng(0).normal(size=(LIMIT + 10, 3)).astype(np.float32)
    value = payload(points, len(points))
    assert (value["count"], value["total"]) == (LIMIT, LIMIT + 10)


def test_no_points() -> None:
    with pytest.raises(UserError, match="no point"):
        payload(np.empty((0, 3), np.float32), 0)
