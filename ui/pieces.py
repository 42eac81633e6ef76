"""Small pieces of HTML that several pages share; every text that comes from outside is escaped here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import gradio as gr

COPY_CODE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('.ps-copy');
  if (!button) return;
  const text = button.parentElement.querySelector('pre').textContent;
  const done = () => { button.textContent = 'Copied'; setTimeout(() => { button.textContent = 'Copy'; }, 1200); };
  const byHand = () => {
    const area = document.createElement('textarea');
    area.value = text; document.body.appendChild(area); area.select();
    document.execCommand('copy'); area.remove(); done();
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, byHand); else byHand();
});
"""


def panel(elem_id: str, value: str = "", js: str | None = None) -> gr.HTML:
    """Return a component that shows our own HTML; an update changes only the nodes that differ."""
    return gr.HTML(value, elem_id=elem_id, apply_default_css=False, js_on_load=js)


def code(text: str, label: str) -> str:
    """Return a block of code with a copy button (see COPY_CODE)."""
    return (
        f'<div class="ps-code"><span class="ps-code-label">{escape(label)}</span>'
        f'<button type="button" class="ps-copy">Copy</button><pre tabindex="0">{escape(text)}</pre></div>'
    )


def chip(state: str, text: str | None = None) -> str:
    """Return a small coloured word for a run's state."""
    return f'<span class="ps-chip ps-{escape(state)}" data-state="{escape(state)}">{escape(text or state)}</span>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return numbers with their names, side by side."""
    inner = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="ps-facts">{inner}</dl>'


def empty(title: str, advice: str) -> str:
    """Return what stands where nothing is yet: what is missing and what to do next."""
    return f'<div class="ps-empty"><strong>{escape(title)}</strong><p>{escape(advice)}</p></div>'


def notice(kind: str, lines: Sequence[str]) -> str:
    """Return one box per line; `kind` is warning, error or info."""
    return "".join(f'<p class="ps-notice ps-notice-{kind}">{escape(line)}</p>' for line in lines)


def bar(share: float, label: str, busy: bool = False) -> str:
    """Return a progress bar; `share` in 0..1."""
    percent = 100 * min(1.0, max(0.0, share))
    return (
        f'<div class="ps-bar{" ps-busy" if busy else ""}" role="progressbar" aria-label="{escape(label)}" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent:.0f}">'
        f'<i style="width:{percent:.1f}%"></i></div>'
    )


def share_row(name: str, share: float | None) -> str:
    """Return a table row: a name, a bar and the number."""
    number = percent(share)
    return f'<tr><th scope="row">{escape(name)}</th><td>{bar(share or 0.0, name)}</td><td>{number}</td></tr>'


def result(finished: dict[str, Any]) -> str:
    """Return the test score of a finished run: an accuracy as a bare number, anything else by its name."""
    said, metric = percent(finished.get("test_accuracy")), finished.get("metric") or "accuracy"
    return said if metric == "accuracy" else f"{said} {metric}"


def percent(share: float | None) -> str:
    """Return 0..1 as `97.3 %`, or a dash."""
    return "–" if share is None else f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Return a length of time as people say it: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def ago(moment: float, now: float | None = None) -> str:
    """Return how long ago a moment (seconds since 1970) was, in one unit."""
    past = max(0.0, (time.time() if now is None else now) - moment)
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if past >= size:
            return f"{past / size:.0f} {name} ago"
    return "just now"


def size(count: int) -> str:
    """Return bytes as kB, MB or GB (powers of ten)."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
