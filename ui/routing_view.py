"""What the page shows of a method's routing: values for assets/routing.js, made of events and of an explained input."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ..core.explain import Explanation
from ..core.predict import Prediction
from .curves import Seen
from .viewer import TEMPLATE, payload

EPOCHS = 60
"""The most epochs that are sent; of more an even selection, with the first and the last."""


def live_panel() -> gr.HTML:
    """Return the component of the run page; its value is a `live_value` or None."""
    return gr.HTML(
        None,
        html_template='<div class="ps-routing ps-results"></div>',
        js_on_load="window.pointsmithRouting(element, props, watch);",
        elem_id="routing",
        apply_default_css=False,
    )


def explain_panel() -> gr.HTML:
    """Return the component that shows one input; its value is an `explained_value` or None."""
    first = '<option value="height">'
    template = TEMPLATE.replace(first, f'<option value="painted">by routing</option>{first}')
    return gr.HTML(
        None,
        html_template='<div class="ps-explain" hidden><div class="ps-explain-left">'
        f'{template}<canvas class="ps-patches" role="img" aria-label="Image with its patches" hidden></canvas>'
        '<div class="ps-blocks"></div></div><div class="ps-token"></div></div>',
        js_on_load="window.pointsmithExplain(element, props, watch);",
        elem_id="explain",
        apply_default_css=False,
    )


def live_value(run_id: str, seen: Seen) -> dict[str, Any] | None:
    """Return what is known of a run's routing by now; None before anything is, or where nothing is routed."""
    if seen.routed:
        return _routed(run_id, seen)
    return _scaled(run_id, seen) if seen.scaled else None


def _routed(run_id: str, seen: Seen) -> dict[str, Any]:
    told = _some(seen.routed)
    kept = next((one for one in reversed(seen.routed) if one.get("kept")), None)
    last = kept or told[-1]
    experts = len(last["load"][0])
    highest = math.log(experts) if experts > 1 else 1.0
    return {
        "run": run_id,
        "kind": "routed",
        "epochs": [one["epoch"] for one in told],
        "inputs": last["inputs"],
        "blocks": len(last["load"]),
        "experts": experts,
        "load": [_thousandths(one["load"]) for one in told],
        "entropy": [[min(1000, round(1000 * value / highest)) for value in one["entropy"]] for one in told],
        "classes": [str(name) for name in (seen.plan or {}).get("classes", ())],
        "perClass": _thousandths(last.get("per_class") or ()),
        "byBlock": [_thousandths(block) for block in last.get("by_block") or ()],
        "kept": kept["epoch"] if kept else None,
        "warning": idle_warning(last) if last["epoch"] else "",
    }


def _scaled(run_id: str, seen: Seen) -> dict[str, Any]:
    told = _some(seen.scaled)
    return {
        "run": run_id,
        "kind": "scaled",
        "epochs": [one["epoch"] for one in told],
        "inputs": told[-1]["inputs"],
        "blocks": len(told[-1]["mean"]),
        "experts": 0,
        "quantiles": [[[round(value, 3) for value in row] for row in one["quantiles"]] for one in told],
        "off": [[round(value, 3) for value in one["off"]] for one in told],
        "warning": "",
    }


def idle_warning(told: dict[str, Any]) -> str:
    """Return a sentence that names dead experts, counted from 1; empty where there are none."""
    idle = told.get("idle") or ()
    if not idle:
        return ""
    names = [
        f"{one['expert'] + 1}" + ("" if one.get("block") is None else f" of block {one['block'] + 1}") for one in idle
    ]
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    many = len(idle) > 1
    return (
        f"Expert{'s' if many else ''} {shown} hardly receive{'' if many else 's'} any sub-token (under 1 %): "
        "as good as dead. A higher method.balance spreads the load; fewer method.experts save parameters."
    )


def _some(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most `EPOCHS` of the events of epochs, in order; of one told twice, the later."""
    by_epoch = {one["epoch"]: one for one in events if not one.get("kept")}
    told = [by_epoch[epoch] for epoch in sorted(by_epoch)] or events[-1:]
    return [told[int(i)] for i in np.unique(np.linspace(0, len(told) - 1, min(EPOCHS, len(told))).round())]


def _thousandths(rows: Sequence[Sequence[float] | None]) -> list[list[int] | None]:
    return [None if row is None else [round(1000 * value) for value in row] for row in rows]


def explained_value(found: Explanation, name: str, truth: str | None) -> dict[str, Any]:
    """Return what the panel draws of one explained input: gates as bytes, scales as 16-bit steps."""
    answer = found.answer
    value: dict[str, Any] = {"name": name, "truth": truth, "grid": found.grid, "view": None, "picture": None}
    if isinstance(answer, Prediction):
        value["label"] = answer.label
    else:
        value["label"] = answer.category
    if answer.patch is None:
        value["picture"] = data_url(answer.inputs)  # type: ignore[union-attr]
    else:
        value["view"] = payload(answer.points, len(answer.points), answer.patch)
    if found.gates is not None:
        value |= _gates(found.gates, found.lead_gates)
    elif found.scales is not None:
        value |= _scales(found.scales, found.lead_scales)
    return value


def _gates(gates: np.ndarray, lead: np.ndarray | None) -> dict[str, Any]:
    blocks, patches, heads, experts = gates.shape
    return {
        "blocks": blocks,
        "patches": patches,
        "heads": heads,
        "experts": experts,
        "gates": _packed(np.rint(gates * 255).astype(np.uint8)),
        "lead": None if lead is None else _packed(np.rint(lead * 255).astype(np.uint8)),
    }


def _scales(scales: np.ndarray, lead: np.ndarray | None) -> dict[str, Any]:
    most = float(max(scales.max(), 0.0 if lead is None else lead.max(), 1e-6))
    return {
        "blocks": len(scales),
        "patches": scales.shape[1],
        "scales": _packed(np.rint(scales / most * 65535).astype("<u2")),
        "leadScales": None if lead is None else [round(float(one), 4) for one in lead],
        "scaleMax": round(most, 4),
    }


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def data_url(pixels: np.ndarray) -> str:
    """Return an image (H, W, 3) uint8 as a JPEG in a data address."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
