"""Stand-in weights and clouds of the golden cases: the same numbers on every machine, from names and shapes alone."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def stand_in(name: str, shape: list[int], seed: int) -> torch.Tensor:
    """Return the tensor of one name: variances above one, small means, scales near one, matrices of unit gain."""
    noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        value = 1.0 + 0.2 * np.abs(noise)
    elif name.endswith("running_mean"):
        value = 0.1 * noise
    elif len(shape) <= 1:
        value = float(name.endswith("weight") or "gamma" in name) + 0.05 * noise
    else:
        value = noise / np.sqrt(int(np.prod(shape[1:])) or 1)
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


def stand_in_weights(shapes: dict[str, list[int]], seed: int) -> dict[str, torch.Tensor]:
    return {name: stand_in(name, shape, seed) for name, shape in shapes.items()}


def stand_in_clouds(batch: int, points: int, seed: int) -> np.ndarray:
    """Return (batch, points, 3) float32: noisy shells of radius 0.3 to 1, no point near the origin."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((batch, points, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    return (direction * (0.3 + 0.7 * rng.random((batch, points, 1)))).astype(np.float32)
