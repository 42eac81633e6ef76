"""The path through the Train form: five numbered steps, what each holds, and where something does not fit yet."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ..core.config import RunConfig
from ..core.errors import UserError

STEPS = {"data": "Data", "backbone": "Backbone", "method": "Method", "recipe": "Recipe", "review": "Review"}

GO = """
element.addEventListener('click', (event) => {
  const step = event.target.closest('[data-step]');
  if (!step) return;
  const place = document.getElementById('step-' + step.dataset.step);
  if (!place) return;
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  place.scrollIntoView({behavior: still ? 'auto' : 'smooth', block: 'start'});
  const first = place.querySelector('input:checked, input, textarea, button');
  if (first) first.focus({preventScroll: true});
});
"""


def path(chosen: Mapping[str, str], wrong: str = "") -> str:
    """Return the bar; `chosen` says in a few words what each step holds, `wrong` which one does not fit."""
    rows = []
    for number, (step, title) in enumerate(STEPS.items(), start=1):
        state = "wrong" if step == wrong else "open" if step == "review" else "done"
        sign = {"wrong": "!", "done": "✓", "open": str(number)}[state]
        said = {"wrong": " (does not fit yet)", "done": "", "open": ""}[state]
        rows.append(
            f'<li><button type="button" class="ps-step ps-step-{state}" data-step="{step}">'
            f'<i aria-hidden="true">{sign}</i><span><b>{number} · {title}<em>{said}</em></b>'
            f"<small>{escape(chosen.get(step, ''))}</small></span></button></li>"
        )
    return f'<nav aria-label="Steps to a run"><ol class="ps-path">{"".join(rows)}</ol></nav>'


def step_of(error: UserError) -> str:
    """Return the step whose settings a refusal is about, as its words tell; the review where they do not."""
    said = error.what.removeprefix("The form: ").removeprefix("unknown ").lower()
    first = said.replace(":", " ").split()[0].split(".")[0]
    if first in ("data", "backbone", "method"):
        return first
    if "weight" in said:
        return "backbone"
    if "data set" in said or "training file" in said or "test file" in said or "class names" in said:
        return "data"
    if first in RunConfig.model_fields:
        return "recipe"
    return next((part for part in ("method", "backbone", "data") if part in said), "review")
