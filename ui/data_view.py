"""A checked data set as HTML: problems with their remedies, classes with bars, a grid of pictures. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..core.data.inspect import Report
from ..core.data.problems import Problem
from . import pieces
from .data_sets import Entry

_NAMES = 30
_CLASSES = 200
_PARTS = (("train", 1), ("validation", 2), ("test", 3), ("", 1))
_WORDS = {"error": "error", "warning": "warning", "info": "note"}


def waiting() -> str:
    """Return what stands where the report will be."""
    return pieces.empty("No data set checked yet", "Choose one and press Check: what is wrong with it comes up here.")


def progress(what: str, done: int, total: int) -> str:
    """Return how far a check is."""
    told = f"{what[:1].upper()}{what[1:]}" + (f": {done:,} of {total:,}" if total > 1 else " …")
    share = done / total if total > 1 else 0.0
    busy = pieces.bar(share, "progress of the check", busy=total <= 1)
    return f'<p class="ps-status" role="status">{escape(told)}</p>{busy}'


def head(report: Report) -> str:
    """Return name, verdict and numbers, then the problems, the worst first."""
    left = report.open_problems
    errors = any(one.level == "error" for one in left)
    state, word = ("failed", "needs work") if errors else ("queued", "look at it") if left else ("succeeded", "ready")
    parts = [f'<div class="ps-head"><h2>{escape(report.title)}</h2>{pieces.chip(state, word)}</div>']
    parts.append(pieces.facts(_facts(report)))
    parts += [_problem(number, one) for number, one in enumerate(report.problems)]
    if not report.problems:
        parts.append(pieces.notice("info", ["No problem was found."]))
    parts.append(_outcome(report))
    return f'<div class="ps-card ps-report">{"".join(parts)}</div>'


def _facts(report: Report) -> list[tuple[str, str]]:
    noun = "Images" if report.modality == "images" else "Clouds"
    whole = f"{report.usable:,}" if report.usable == report.inputs else f"{report.usable:,} of {report.inputs:,} sound"
    found = [(noun, whole), ("Classes", f"{sum(1 for name in report.counts if name):,}")]
    spreads = report.spreads
    if "points" in spreads:
        one = spreads["points"]
        found.append(("Points a cloud", _range(one.low, one.high)))
        found.append(("Radius", _range(spreads["radius"].low, spreads["radius"].high)))
    if "width" in spreads:
        found.append(("Width", _range(spreads["width"].low, spreads["width"].high)))
        found.append(("Height", _range(spreads["height"].low, spreads["height"].high)))
        found.append(("Grey", f"{report.grey:,}"))
    if report.up:
        found.append(("Stands with up", str(report.up["axis"])))
    return found


def _range(low: float, high: float) -> str:
    shown = [f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}" for value in (low, high)]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"


def _problem(number: int, problem: Problem) -> str:
    kind = "mended" if problem.mended else problem.level
    word = "mended" if problem.mended else _WORDS[problem.level]
    detail = f"<p>{escape(problem.detail)}</p>" if problem.detail else ""
    names = ""
    if problem.names:
        rows = "".join(f"<li>{escape(name)}</li>" for name in problem.names[:_NAMES])
        left = len(problem.names) + problem.more - _NAMES
        more = f"<li>and {left:,} more</li>" if left > 0 else ""
        count = len(problem.names) + problem.more
        few = " open" if count <= 3 and problem.level != "info" else ""
        names = f"<details{few}><summary>Which ({count:,})</summary><ul>{rows}{more}</ul></details>"
    button = ""
    if problem.remedy and not problem.mended:
        button = f'<button type="button" class="ps-button" data-mend="{number}">{escape(problem.remedy.label)}</button>'
    return (
        f'<section class="ps-problem ps-problem-{kind}" data-problem="{problem.code}"><div>'
        f'<h3><span class="ps-word">{word}</span>'
        f"{escape(problem.title)}</h3>{detail}{names}</div>{button}</section>"
    )


def _outcome(report: Report) -> str:
    tried = report.trial
    if tried.refused:
        return ""
    got = {part: sum(counts) for part, counts in tried.counts.items()}
    words = {"train": "to learn from", "validation": "to choose the best epoch on", "test": "to test with"}
    told = ", ".join(f"{count:,} {words[part]}" for part, count in got.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in tried.notes[:_NAMES])
    listed = f"<details><summary>How they come about</summary><ul>{notes}</ul></details>" if notes else ""
    print_ = f'<p class="ps-quiet">Fingerprint <code title="{tried.fingerprint}">{tried.fingerprint[:16]}</code></p>'
    return f'<div class="ps-outcome"><p>A run would get {escape(told)}.</p>{listed}{print_}</div>'


def inputs(report: Report) -> str:
    """Return the classes with their counts as bars, and the grid of pictures."""
    return _classes(report) + _grid(report)


def _classes(report: Report) -> str:
    parts = [(part, tone) for part, tone in _PARTS if part in report.parts]
    rows = [(name, counts) for name, counts in report.counts.items() if name]
    if not rows or not parts:
        return ""
    most = max(sum(counts.values()) for _, counts in rows) or 1
    body = "".join(_class_row(name, counts, parts, most) for name, counts in rows[:_CLASSES])
    more = f"<p>and {len(rows) - _CLASSES:,} more classes</p>" if len(rows) > _CLASSES else ""
    legend = "".join(
        f'<span class="ps-ink-{tone}"><i></i>{escape(part or "in no part")} {report.parts[part]:,}</span>'
        for part, tone in parts
    )
    return (
        f'<section class="ps-card ps-report"><h3>Classes</h3><p class="ps-parts">{legend}</p>'
        f'<table class="ps-classes"><tbody>{body}</tbody></table>{more}</section>'
    )


def _class_row(name: str, counts: dict[str, int], parts: Sequence[tuple[str, int]], most: int) -> str:
    bars = "".join(
        f'<i class="ps-fill-{tone}" style="width:{100 * counts.get(part, 0) / most:.1f}%"></i>' for part, tone in parts
    )
    told = " + ".join(f"{counts.get(part, 0):,}" for part, _ in parts)
    return f'<tr><th scope="row">{escape(name)}</th><td><div class="ps-stack">{bars}</div></td><td>{told}</td></tr>'


def _grid(report: Report) -> str:
    if not report.pictures:
        return ""
    cells = "".join(
        f'<button type="button" data-look="{number}" title="{escape(item.name, quote=True)}">'
        f'<img src="{item.picture}" alt=""><span>{escape(item.label or item.name)}</span></button>'
        for number, item in enumerate(report.pictures)
    )
    said = f"{len(report.pictures)} of {report.inputs:,}; click one for a closer look"
    return (
        f'<section class="ps-card ps-report"><h3>Pictures</h3><p class="ps-quiet">{said}</p>'
        f'<div class="ps-grid-of-inputs">{cells}</div></section>'
    )


def caption(name: str, label: str, part: str) -> str:
    """Return what stands above a closer look."""
    told = " · ".join(escape(text) for text in (label, part) if text)
    return f'<div class="ps-head"><h3>{escape(name)}</h3><span class="ps-quiet">{told}</span></div>'


def enlarged(address: str, name: str) -> str:
    """Return the closer look at an image."""
    return f'<img class="ps-enlarged" src="{address}" alt="{escape(name, quote=True)}">' if address else ""


def registered(entries: Sequence[Entry], now: float) -> str:
    """Return the list of data sets that were checked before."""
    if not entries:
        return ""
    rows = "".join(
        f'<div class="ps-known" role="listitem"><button type="button" data-pick="{one.id}">'
        f"<b>{escape(one.title)}</b><small>{escape(_brief(one))} · {pieces.ago(one.checked, now)}</small></button>"
        f'<button type="button" class="ps-remove" data-drop="{one.id}" '
        f'aria-label="Forget {escape(one.title, quote=True)}" title="Forget it; its files stay">×</button></div>'
        for one in entries
    )
    return f'<section class="ps-card ps-report"><h2>Checked before</h2><div role="list">{rows}</div></section>'


def _brief(entry: Entry) -> str:
    state = "ready" if not entry.problems else f"{entry.problems} open" if entry.fingerprint else "needs work"
    return f"{entry.inputs:,} {entry.modality}, {entry.classes:,} classes · {state}".replace("points", "clouds")
