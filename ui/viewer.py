"""Clouds on their way to the browser: packed small, with an honest count, drawn by assets/viewer.js."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from ..core.errors import UserError

LIMIT = 100_000
"""The most points sent at once; what is left out is said beside the picture."""

TEMPLATE = """
<div class="ps-view">
  <canvas tabindex="0" role="img" aria-label="3D point cloud"></canvas>
  <i class="ps-ring" hidden></i>
  <p class="ps-view-message" hidden></p>
  <p class="ps-halves" hidden><span>predicted</span><span>true</span></p>
  <div class="ps-view-bar">
    <label>Colour <select class="ps-colour" aria-label="Colour">
      <option value="height">by height</option><option value="patch">by patch</option>
      <option value="part">by part</option><option value="weight" hidden disabled>by importance</option>
    </select></label>
    <label>Point size <input class="ps-size" type="range" min="1" max="14" step="0.5" value="6" aria-label="Point size">
    </label>
    <button type="button" class="ps-reset">Reset view</button>
    <button type="button" class="ps-photo" title="Save what is seen as a PNG">Picture</button>
    <button type="button" class="ps-ply" title="Save the points shown, with their labels, as a PLY">PLY</button>
    <span class="ps-note" role="status"></span>
    <span class="ps-picked" role="status" hidden></span>
  </div>
</div>
"""


def viewer(elem_id: str, visible: bool = True) -> gr.HTML:
    """Return the viewer component; its value is a `payload` or None.

    The cameras of viewers within one element of the class ps-linked move together.
    """
    return gr.HTML(
        None,
        html_template=TEMPLATE,
        js_on_load="window.pointsmithViewer(element, props, watch);",
        elem_id=elem_id,
        visible=visible,
        apply_default_css=False,
    )


_PART_COLOURS = ("#e08a00", "#2f8fd0", "#14a06f", "#d1495b", "#8e6bd1", "#b5762a", "#c2559d", "#5f7f2f")


def part_colours(count: int) -> list[str]:
    """Return the colours of an object's parts, readable in light and dark; far ones come again after eight."""
    return [_PART_COLOURS[i % len(_PART_COLOURS)] for i in range(count)]


def with_parts(
    shown: dict[str, Any], names: Sequence[str], parts: np.ndarray, truth: np.ndarray | None = None
) -> dict[str, Any]:
    """Return a `payload` with the part (N,) of each point, of those named, and the true one beside where known."""

    def packed(numbers: np.ndarray) -> str:
        return base64.b64encode(evenly(numbers).astype("<u2").tobytes()).decode("ascii")

    colours = [[int(one[i : i + 2], 16) / 255 for i in (1, 3, 5)] for one in part_colours(len(names))]
    known = packed(truth) if truth is not None else None
    return {**shown, "parts": packed(parts), "truth": known, "partColours": colours, "partNames": list(names)}


def with_weights(shown: dict[str, Any], weights: np.ndarray) -> dict[str, Any]:
    """Return a `payload` with what each point (N,) weighs: positive where the answer rests on it, in 16 bits."""
    most = float(np.abs(weights).max()) or 1.0
    steps = np.rint(evenly(weights) / most * 32767).astype("<i2")
    return {**shown, "weights": base64.b64encode(steps.tobytes()).decode("ascii"), "weightUnit": most}


def evenly(values: np.ndarray) -> np.ndarray:
    """Return at most `LIMIT` of values (N, …), an even selection."""
    return values[np.linspace(0, len(values) - 1, LIMIT).astype(np.int64)] if len(values) > LIMIT else values


def payload(points: np.ndarray, total: int, patch: np.ndarray | None = None) -> dict[str, Any]:
    """Return what the viewer draws: points (N, 3) as steps of their bounding box, and each one's patch (N,).

    16-bit, little-endian, in base64: 8 bytes a point and patch instead of some 30 as JSON numbers; exact to 1/65535
    of the box. Of more than `LIMIT` points an even selection is sent. `total` is what the cloud has.
    UserError when it is empty.
    """
    if not len(points):
        raise UserError("There is no point to show")
    points, patch = evenly(points), evenly(patch) if patch is not None else None
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    extent = np.where(high > low, high - low, 1.0)
    steps = np.rint((points - low) / extent * 65535).astype("<u2")
    return {
        "points": base64.b64encode(steps.tobytes()).decode("ascii"),
        "low": low.tolist(),
        "high": high.tolist(),
        "patches": base64.b64encode(patch.astype("<u2").tobytes()).decode("ascii") if patch is not None else None,
        "count": len(points),
        "total": max(int(total), len(points)),
    }
