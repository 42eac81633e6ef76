"""Random changes to training clouds and images, whole batches at once and reproducible from a generator."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from ..errors import UserError
from ..schema import Config
from .picture import ImageAugment


class AugmentConfig(Config):
    """What happens to every training cloud, drawn anew each time it is seen."""

    kind: Literal["none", "scale-shift", "rotate", "rotate-scale-shift", "batch-scale-shift"] = Field(
        default="scale-shift",
        description="scale-shift: DAPT's and Point-MAE's; rotate: IDPT's and ReCon's on ScanObjectNN; "
        "batch-scale-shift: IDPT's on ShapeNetPart, one scale and shift for all clouds of a step, then a move of each "
        "by up to half of `shift`",
    )
    scale_min: float = Field(default=2 / 3, gt=0, le=100, description="smallest factor, drawn for each axis by itself")
    scale_max: float = Field(default=3 / 2, gt=0, le=100, description="largest factor")
    shift: float = Field(
        default=0.2, ge=0, le=100, description="largest move to either side, drawn for each axis by itself"
    )
    axis: Literal["x", "y", "z"] = Field(
        default="y", description="the axis that rotation turns about: the one that points up"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale_min > self.scale_max:
            raise UserError("scale_min is larger than scale_max", got=self.scale_min, expected=f"≤ {self.scale_max}")
        return self


def augment(points: Tensor, config: AugmentConfig, generator: torch.Generator, *, own: bool = False) -> Tensor:
    """Return `points` (B, N, 3), each cloud rotated about one axis, then scaled and shifted, as `config` says.

    `generator` lives on the points' device and alone decides. `own`: `points` may be overwritten. Source: the released
    training code of Point-MAE, DAPT (scale in [2/3, 3/2] and shift within 0.2 for each axis) and IDPT (a full turn
    about y).
    """
    if config.kind in ("rotate", "rotate-scale-shift"):
        points, own = _turn(points, _rotations(points, config.axis, generator)), True
    if config.kind in ("scale-shift", "rotate-scale-shift"):
        low, high = config.scale_min, config.scale_max
        scale = _uniform(points, low, high, generator)
        shift = _uniform(points, -config.shift, config.shift, generator)
        points = _scale_and_shift(points, scale, shift, own)
    if config.kind == "batch-scale-shift":
        one = points[:1]
        scale = _uniform(one, config.scale_min, config.scale_max, generator)
        shift = _uniform(one, -config.shift, config.shift, generator)
        moved = _uniform(points, -config.shift / 2, config.shift / 2, generator)
        points = _scale_and_shift(points, scale.expand_as(moved), shift + moved, own)
    return points


def permute_points(points: Tensor, count: int, generator: torch.Generator, *, own: bool = False) -> Tensor:
    """Return `count` of each cloud's points, any with the same chance: (B, N, C) to (B, count, C), without repetition.

    The first one is random in any case, because farthest point sampling starts at index 0; of the others, where all
    are taken, the order says nothing to a model, and they stay where they are. `own`: `points` may be overwritten.
    Raises ValueError where count > N.
    """
    batch, have, width = points.shape
    if count > have:
        raise ValueError(f"{count} points wanted of clouds that have {have}")
    rows = torch.arange(batch, device=points.device)
    if count == have:
        first = torch.randint(have, (batch,), generator=generator, device=points.device)
        permuted = points if own else points.clone()
        chosen = points[rows, first]
        permuted[rows, first] = points[:, 0]
        permuted[:, 0] = chosen
        return permuted
    if points.device.type == "cpu":  # four times faster than a sort
        index = torch.stack([torch.randperm(have, generator=generator)[:count] for _ in range(batch)])
    else:
        index = torch.rand(batch, have, generator=generator, device=points.device).argsort(dim=1)[:, :count]
    flat = (index + rows[:, None] * have).flatten()
    return points.reshape(-1, width).index_select(0, flat).view(batch, count, width)


def augment_images(images: Tensor, kind: ImageAugment, generator: torch.Generator) -> Tensor:
    """Return `images` (B, C, H, W), about half of them mirrored, and moved by up to an eighth where `kind` says so.

    What moves in from outside is the image's own reflection. `generator` lives on the images' device.
    """
    if kind == "none":
        return images
    b, device = len(images), images.device
    mirrored = torch.rand(b, generator=generator, device=device) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    if kind == "flip":
        return images
    height, width = images.shape[2:]
    reach = max(1, min(height, width) // 8)
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    top, left = (torch.randint(0, 2 * reach + 1, (b, 1), generator=generator, device=device) for _ in range(2))
    rows = (top + torch.arange(height, device=device))[:, None, :, None]
    columns = (left + torch.arange(width, device=device))[:, None, None, :]
    batch = torch.arange(b, device=device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=device)[None, :, None, None]
    return padded[batch, channels, rows, columns]


def _scale_and_shift(points: Tensor, scale: Tensor, shift: Tensor, own: bool) -> Tensor:
    """points (B, N, 3) * scale + shift, both (B, 1, 3), in one pass, where they lie if they are ours (`own`).

    Several points in a row make inner loops that are long enough for the vector units: five times faster on a CPU.
    """
    b, n, _ = points.shape
    together = math.gcd(n, 32)
    scale, shift = (one.expand(b, together, 3).reshape(b, 1, 3 * together) for one in (scale, shift))
    rows = points.reshape(b, n // together, 3 * together)
    return torch.addcmul(shift, rows, scale, out=rows if own else None).view(b, n, 3)


def _turn(points: Tensor, matrices: Tensor) -> Tensor:
    """Multiply each point of points (B, N, 3) by its cloud's matrix (B, 3, 3).

    Several points in a row, by a matrix that repeats along its diagonal, are three times faster on a CPU.
    """
    b, n, _ = points.shape
    together = math.gcd(n, 8)
    repeated = points.new_zeros(b, together, 3, together, 3)
    repeated.diagonal(dim1=1, dim2=3).copy_(matrices.transpose(1, 2).unsqueeze(-1))
    size = 3 * together
    return torch.bmm(points.reshape(b, n // together, size), repeated.view(b, size, size)).view(b, n, 3)


def _uniform(points: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(len(points), 1, 3, generator=generator, device=points.device, dtype=points.dtype)
    return drawn * (high - low) + low


def _rotations(points: Tensor, axis: str, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(len(points), generator=generator, device=points.device, dtype=points.dtype)
    cos, sin = torch.cos(drawn * 2 * math.pi), torch.sin(drawn * 2 * math.pi)
    fixed = "xyz".index(axis)
    first, second = (fixed + 1) % 3, (fixed + 2) % 3
    matrix = torch.zeros(len(points), 3, 3, device=points.device, dtype=points.dtype)
    matrix[:, fixed, fixed] = 1
    matrix[:, first, first], matrix[:, second, second] = cos, cos
    matrix[:, first, second], matrix[:, second, first] = -sin, sin
    return matrix
