"""A small picture of one input for a grid, and what a closer look needs, both as text for the page."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 112
PREVIEW_POINTS = 2048
_PREVIEW_SIDE = 480
_YAW, _PITCH = 0.65, 0.38
# Low, middle and high end of the ramp: readable on white and on near-black.
_RAMP = np.array([[58, 104, 190], [190, 84, 130], [236, 138, 60]], dtype=np.float64)


def cloud_picture(points: np.ndarray) -> str:
    """Return a cloud (N, 3), seen from the same side as in the viewer, as a PNG without ground in a data address.

    y is drawn upwards; nearer points cover farther ones and are brighter.
    """
    points = np.asarray(points, dtype=np.float64)
    points = points - (points.min(axis=0) + points.max(axis=0)) / 2
    radius = float(np.linalg.norm(points, axis=1).max()) or 1.0
    height = (points[:, 1] - points[:, 1].min()) / (float(np.ptp(points[:, 1])) or 1.0)
    points = points / radius
    turned: NDArray[np.float64] = np.stack(
        [
            np.cos(_YAW) * points[:, 0] + np.sin(_YAW) * points[:, 2],
            points[:, 1],
            -np.sin(_YAW) * points[:, 0] + np.cos(_YAW) * points[:, 2],
        ]
    )
    upward = np.cos(_PITCH) * turned[1] - np.sin(_PITCH) * turned[2]
    depth = np.sin(_PITCH) * turned[1] + np.cos(_PITCH) * turned[2]
    low = np.minimum(height * 2, 1)[:, None]
    high = np.maximum(height * 2 - 1, 0)[:, None]
    colour: NDArray[np.float64] = _RAMP[0] + (_RAMP[1] - _RAMP[0]) * low + (_RAMP[2] - _RAMP[1]) * high
    colour *= 0.86 + 0.14 * depth[:, None]
    side = SIDE * 2
    column = ((turned[0] * 0.47 + 0.5) * side).astype(np.int64)
    row = ((0.5 - upward * 0.47) * side).astype(np.int64)
    canvas = np.zeros((side, side, 4), np.uint8)
    dot = 3 if len(points) > 1000 else 4 if len(points) > 250 else 6
    order = np.argsort(depth)
    for dy in range(dot):
        for dx in range(dot):
            at = np.clip(row[order] + dy - dot // 2, 0, side - 1), np.clip(column[order] + dx - dot // 2, 0, side - 1)
            canvas[at[0], at[1], :3] = np.clip(colour[order], 0, 255)
            canvas[at[0], at[1], 3] = 255
    small = Image.fromarray(canvas, "RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)
    return _address(small.quantize(64, method=Image.Quantize.FASTOCTREE), "PNG")


def image_picture(image: Image.Image) -> str:
    """Return an RGB image, made to fit the grid, as a JPEG in a data address."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    return _address(small, "JPEG")


def cloud_preview(points: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Return at most PREVIEW_POINTS of a cloud (N, 3) as 16-bit steps of their box, in base64, with the true count."""
    total = len(points)
    if total > PREVIEW_POINTS:
        points = points[np.sort(rng.choice(total, PREVIEW_POINTS, replace=False))]
    points = points.astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    steps = np.rint((points - low) / np.where(high > low, high - low, 1.0) * 65535).astype("<u2")
    packed = base64.b64encode(steps.tobytes()).decode("ascii")
    return {"points": packed, "low": low.tolist(), "high": high.tolist(), "count": len(points), "total": total}


def preview_points(preview: dict[str, Any]) -> NDArray[np.float64]:
    """Return the points (M, 3) of what `cloud_preview` made."""
    steps = np.frombuffer(base64.b64decode(preview["points"]), dtype="<u2").reshape(-1, 3).astype(np.float64)
    low, high = np.array(preview["low"]), np.array(preview["high"])
    return low + steps / 65535 * (high - low)


def image_preview(image: Image.Image) -> dict[str, Any]:
    """Return an RGB image, shrunk where it is large, as a JPEG in a data address."""
    shown = image.copy()
    shown.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    return {"image": _address(shown, "JPEG")}


def _address(image: Image.Image, kind: str) -> str:
    stream = BytesIO()
    image.save(stream, kind, quality=85)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(stream.getvalue()).decode("ascii")
