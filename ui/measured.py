"""Memory and time of a run before it starts: dry steps of its model in a process of its own, told as facts."""

from __future__ import annotations

from ..core.config import RunConfig
from ..core.training.estimate import Estimate, Job, estimate_in_child
from ..core.training.memory import gib
from .pieces import duration, facts, notice
from .review import count_classes, count_parts

ASSUMED_CLASSES = 15
LIMIT = 120.0
"""Seconds after which the dry steps are given up."""


def measured(config: RunConfig) -> str:
    """Return what a run would take on this machine; takes seconds to minutes. UserError where it cannot be told."""
    classes = count_classes(config) or ASSUMED_CLASSES
    parts = (count_parts(config) or 3 * classes) if config.data.answers == "parts" else 0
    return told(estimate_in_child(Job(run=config, classes=classes, parts=parts, seconds=20.0), limit=LIMIT))


def told(found: Estimate) -> str:
    """Return an estimate as facts, with a warning where it does not fit."""
    chosen = next(one for one in found.modes if one.mode == found.chosen)
    pairs = [(f"Peak memory on {found.device}", f"≈ {gib(chosen.peak_bytes)}")]
    if chosen.seconds_per_step is not None:
        pairs.append(("Time of a step", f"≈ {chosen.seconds_per_step:.2g} s"))
    if found.total_seconds is not None:
        total = f"≈ {duration(found.total_seconds)}" if found.total_seconds >= 1 else "under 1 s"
        pairs.append(("All training steps", total))
    if chosen.largest_batch:
        pairs.append(("Largest batch that fits", f"≈ {chosen.largest_batch:,}"))
    room = gib(found.base_bytes + found.allowed_bytes)
    wrong = [] if chosen.fits else [f"It does not fit: {room} may be taken here. Lower the batch size."]
    where = f"Measured in dry steps on the machine of this page ({found.precision})"
    about = f"{where}; validation and reading data come on top."
    return facts(pairs) + notice("warning", wrong) + notice("info", [about, *found.notes])
