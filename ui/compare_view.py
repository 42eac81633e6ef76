"""Several runs side by side as HTML: numbers, settings that differ, accuracy against cost, mistakes. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..core.schema import leaves
from ..worker.run import Run
from . import pieces
from .curves import Seen, epoch_line
from .pieces import chip, duration, empty, percent, size
from .run_view import confusion

MOST = 10
"""How many runs are compared at once: as many as there are tones to tell them apart."""


@dataclass(frozen=True)
class Compared:
    """A run, what its events have said, and the tone (1 to `MOST`) that it has in every picture."""

    run: Run
    seen: Seen
    tone: int

    @property
    def accuracy(self) -> float | None:
        """The test score of a finished run."""
        return (self.run.result or {}).get("test_accuracy")

    @property
    def trainable(self) -> int | None:
        """How many parameters train."""
        return (self.seen.plan or {}).get("trainable")

    @property
    def peak(self) -> int | None:
        """The most memory, in bytes, that any epoch took."""
        return max((int(one.get("peak_memory_bytes") or 0) for one in self.seen.epochs), default=0) or None

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(str(name) for name in (self.seen.plan or {}).get("classes") or ())

    @property
    def counts(self) -> Sequence[Sequence[int]]:
        """The confusion on test, else on validation; empty before it is known."""
        scores = self.seen.scores.get("test") or self.seen.scores.get("validation") or {}
        return scores.get("confusion") or ()


def numbers(compared: Sequence[Compared], offered: int = 1) -> str:
    """Return the table of numbers; what to do, where there is nothing to compare of what is offered."""
    if not compared and not offered:
        return empty("No run to compare yet", "Start two under Train, with other methods or settings, and come back.")
    if not compared:
        return empty("Nothing chosen yet", f"Choose two or more runs above, up to {MOST}.")
    return _table(compared)


def details(compared: Sequence[Compared]) -> str:
    """Return what stands below the curves: cost, settings, routing and mistakes."""
    return "".join(part(compared) for part in (_scatters, _differences, _routing, _mistakes)) if compared else ""


def charts(compared: Sequence[Compared]) -> dict[str, Any] | None:
    """Return the value of the charts component: one line a run, under the run's name and in its tone."""
    if not compared:
        return None
    most = max(_epochs(one) for one in compared)
    metrics = {str((one.seen.plan or {}).get("metric") or "accuracy") for one in compared}
    title = metrics.pop() if len(metrics) == 1 else "accuracy or mIoU"
    title = title[0].upper() + title[1:] if title[0].islower() and not title.startswith("mIoU") else title
    wanted = [
        ("validation_accuracy", f"{title}, validation", "%", {"yMin": 0, "yMax": 1}),
        ("train_accuracy", f"{title}, training", "%", {"yMin": 0, "yMax": 1}),
        ("validation_loss", "Loss, validation", "", {"yMin": 0}),
        ("train_loss", "Loss, training", "", {"yMin": 0}),
    ]
    names = _names(compared)
    found: list[dict[str, Any]] = []
    for key, heading, unit, bounds in wanted:
        lines = [epoch_line(name, one.tone, one.seen.epochs, key) for name, one in zip(names, compared)]
        found.append(
            {
                "id": key,
                "title": heading,
                "unit": unit,
                "series": [line for line in lines if line["x"]],
                "xLabel": "epoch",
                "xMax": most,
                "empty": "Known after the first epoch.",
                **bounds,
            }
        )
    return {"run": ",".join(one.run.id for one in compared), "charts": found}


def _epochs(one: Compared) -> int:
    return int((one.seen.plan or {}).get("epochs") or one.run.config.get("epochs") or 1)


def _names(compared: Sequence[Compared]) -> list[str]:
    """Return a name for each run; what two have in common is told apart by the start of the id."""
    names = [one.run.name for one in compared]
    return [name if names.count(name) == 1 else f"{name} ({one.run.id[:6]})" for name, one in zip(names, compared)]


def _swatch(one: Compared) -> str:
    return f'<i class="ps-swatch ps-ground-{one.tone}" aria-hidden="true"></i>'


def _table(compared: Sequence[Compared]) -> str:
    heads = ("Run", "Test", "Validation", "Trainable", "Adapter", "Peak memory", "Time", "Inputs/s")
    best = max((one.accuracy for one in compared if one.accuracy is not None), default=None)
    rows = ""
    for name, one in zip(_names(compared), compared):
        result, run = one.run.result or {}, one.run
        state = "" if run.state == "succeeded" else " " + chip(run.state)
        score = percent(one.accuracy)
        if one.accuracy is not None and one.accuracy == best and len(compared) > 1:
            score = f"<b>{score}</b>"
        stored = int((one.seen.plan or {}).get("adapter_bytes") or result.get("adapter_bytes") or 0)
        last = one.seen.last or {}
        cells = (
            score,
            percent(result.get("validation_accuracy")),
            f"{one.trainable:,}" if one.trainable else "–",
            size(stored) if stored else "–",
            _bytes(one.peak),
            duration(result["seconds"]) if result.get("seconds") else "–",
            f"{last['clouds_per_second']:.0f}" if last.get("clouds_per_second") else "–",
        )
        link = f'<a href="?run={run.id}" data-run="{run.id}">{escape(name)}</a>'
        rows += (
            f'<tr><th scope="row">{_swatch(one)}{link}{state}</th>' + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"
        )
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    return _section("Numbers", f'<table class="ps-compare"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>')


def _section(title: str, inner: str, said: str = "") -> str:
    told = f'<p class="ps-quiet">{escape(said)}</p>' if said else ""
    return (
        f'<section class="ps-card ps-compared"><h3>{escape(title)}</h3>{told}'
        f'<div class="ps-scroll" tabindex="0" role="region" aria-label="{escape(title)}">{inner}</div></section>'
    )


def differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str | None]]:
    """Return {setting: its value in each run, None where that run has no such setting}, of those that are not equal."""
    flats = [{name: _text(value) for name, value in leaves(config)} for config in configs]
    names = list(dict.fromkeys(name for one in flats for name in one))
    rows = {name: [one.get(name) for one in flats] for name in names}
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _differences(compared: Sequence[Compared]) -> str:
    if len(compared) < 2:
        return ""
    found = differing([one.run.config for one in compared])
    title = "Settings that differ"
    if not found:
        return _section(title, '<p class="ps-quiet">None: these runs have the same configuration.</p>')
    common = {name: values for name, values in found.items() if None not in values}
    own = {name: values for name, values in found.items() if None in values}
    shown = _settings(compared, common) if common else ""
    if own:
        shown += (
            f"<details{'' if common else ' open'}><summary>Settings that only some of them have ({len(own)})</summary>"
            f"{_settings(compared, own)}</details>"
        )
    return _section(title, shown)


def _settings(compared: Sequence[Compared], found: Mapping[str, Sequence[str | None]]) -> str:
    head = '<th scope="col">setting</th>' + "".join(
        f'<th scope="col">{_swatch(one)}{escape(name)}</th>' for name, one in zip(_names(compared), compared)
    )
    rows = ""
    for name, values in found.items():
        cells = "".join(f"<td>{'–' if value is None else escape(_short(value))}</td>" for value in values)
        rows += f'<tr><th scope="row"><code>{escape(name)}</code></th>{cells}</tr>'
    return f'<table class="ps-compare ps-left"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _bytes(count: int | None) -> str:
    if not count:
        return "–"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _scatters(compared: Sequence[Compared]) -> str:
    """Return accuracy against trainable parameters (as the papers' first figures) and against memory."""
    by_size = [
        (one, float(one.trainable), one.accuracy) for one in compared if one.trainable and one.accuracy is not None
    ]
    by_memory = [(one, one.peak / 2**20, one.accuracy) for one in compared if one.peak and one.accuracy is not None]
    if len(by_size) < 2:
        return ""
    drawn = [_scatter("Test score against trainable parameters", by_size, _count)]
    if len(by_memory) > 1:
        drawn.append(_scatter("Test score against peak memory", by_memory, lambda value: _bytes(int(value * 2**20))))
    return f'<div class="ps-scatters">{"".join(drawn)}</div>'


def _count(value: float) -> str:
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"


def _scatter(title: str, points: Sequence[tuple[Compared, float, float]], name_of: Any) -> str:
    """Return a scatter plot as SVG, its horizontal axis logarithmic; each dot carries the run's name."""
    width, height, left, right, top, bottom = 520, 300, 52, 18, 16, 40
    low = min(math.log10(x) for _, x, _ in points)
    high = max(math.log10(x) for _, x, _ in points)
    low, high = low - max(0.05, 0.12 * (high - low)), high + max(0.05, 0.12 * (high - low))
    ys = [y for _, _, y in points]
    spread = max(0.02, max(ys) - min(ys))
    bottom_y, top_y = max(0.0, min(ys) - 0.2 * spread), min(1.0, max(ys) + 0.2 * spread)

    def across(value: float) -> float:
        return left + (math.log10(value) - low) / (high - low) * (width - left - right)

    def up(value: float) -> float:
        return height - bottom - (value - bottom_y) / (top_y - bottom_y) * (height - top - bottom)

    parts: list[str] = []
    for i in range(5):
        y = bottom_y + (top_y - bottom_y) * i / 4
        parts.append(f'<line class="ps-grid" x1="{left}" x2="{width - right}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{up(y) + 4:.1f}" text-anchor="end">{100 * y:.1f} %</text>')
    for mark in _log_marks(low, high):
        parts.append(
            f'<text x="{across(mark):.1f}" y="{height - bottom + 20}" text-anchor="middle">{name_of(mark)}</text>'
        )
    names = dict(zip((one.run.id for one, _, _ in points), _names([one for one, _, _ in points])))
    heights = _apart([up(y) for _, _, y in points], top + 6, height - bottom - 4)
    for (one, x, y), line in zip(points, heights):
        said = f"{names[one.run.id]}: {percent(y)}, {name_of(x)}"
        anchor = "end" if across(x) > width * 0.62 else "start"
        offset = -10 if anchor == "end" else 10
        parts.append(
            f'<g class="ps-ink-{one.tone}"><title>{escape(said)}</title>'
            f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="6" fill="currentColor"/>'
            f'<text class="ps-dot-name" x="{across(x) + offset:.1f}" y="{line + 4:.1f}" text-anchor="{anchor}">'
            f"{escape(_short(names[one.run.id], 28))}</text></g>"
        )
    return (
        f'<figure class="ps-card ps-scatter"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _apart(heights: Sequence[float], low: float, high: float, step: float = 15.0) -> list[float]:
    """Return heights near these of which no two are closer than `step`, within low..high as far as there is room."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = [0.0] * len(heights)
    last = low - step
    for i in order:
        last = placed[i] = max(heights[i], last + step)
    over = max(0.0, last - high)
    for i in reversed(order):
        placed[i] = min(placed[i], high) if over else placed[i]
        high = min(high, placed[i]) - step
    return placed


def _log_marks(low: float, high: float) -> list[float]:
    """Return two to six round values between two logarithms to base ten."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        marks = [s * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for s in steps]
        marks = [mark for mark in marks if low <= math.log10(mark) <= high]
        if 2 <= len(marks) <= 6:
            return marks
    if len(marks) > 6:
        return marks[:: -(-len(marks) // 6)]
    # Within less than a decade: even steps that are round themselves.
    width = 10**high - 10**low
    step = next(f * 10.0**p for p in range(-3, 16) for f in (1, 2, 5) if width / (f * 10.0**p) <= 5)
    first = math.ceil(10**low / step)
    return [step * i for i in range(first, math.floor(10**high / step) + 1)]


def _routing(compared: Sequence[Compared]) -> str:
    """Return each router's load by block beside the others', where two runs or more route over as many experts."""
    told = [(one, one.seen.routed[-1]) for one in compared if one.seen.routed]
    if not told:
        return ""
    figures = "".join(_load_table(one, event, told[0][1] if i else None) for i, (one, event) in enumerate(told))
    said = "Share of sub-tokens whose first choice is each expert, by block, after the kept or else the latest epoch."
    if len(told) > 1:
        said += (
            " Below each: the mean difference to the first (0: the same routing, 1: none in common), experts matched."
        )
    return _section("Expert routing", f'<div class="ps-loads">{figures}</div>', said)


def distance(load: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float | None:
    """Return the mean over blocks of half the L1 distance of two loads (blocks, experts), 0 to 1.

    Experts have no order of their own, so those of `other` are matched to make it least. None where shapes differ.
    """
    from scipy.optimize import linear_sum_assignment

    if len(load) != len(other) or any(len(a) != len(b) for a, b in zip(load, other)):
        return None
    experts = len(load[0])
    cost = [[sum(abs(a[i] - b[j]) for a, b in zip(load, other)) for j in range(experts)] for i in range(experts)]
    rows, columns = linear_sum_assignment(cost)
    return sum(cost[i][j] for i, j in zip(rows, columns)) / (2 * len(load))


def _load_table(one: Compared, event: Mapping[str, Any], first: Mapping[str, Any] | None) -> str:
    load: list[list[float]] = [list(row) for row in event["load"]]
    head = "".join(f'<th scope="col">{i + 1}</th>' for i in range(len(load[0])))
    rows = ""
    for block, shares in enumerate(load):
        cells = "".join(
            f'<td class="ps-portion{" ps-strong" if share > 0.55 else ""}" style="--share:{share:.3f}" '
            f'title="block {block + 1}, expert {i + 1}: {percent(share)}">{100 * share:.0f}</td>'
            for i, share in enumerate(shares)
        )
        rows += f'<tr><th scope="row">{block + 1}</th>{cells}</tr>'
    apart = distance(first["load"], load) if first is not None else None
    told = f"<p>Difference to the first: {apart:.2f}</p>" if apart is not None else ""
    return (
        f"<figure><figcaption>{_swatch(one)}{escape(one.run.name)}, epoch {event['epoch']}</figcaption>"
        f'<table class="ps-confusion"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f"{told}</figure>"
    )


def _mistakes(compared: Sequence[Compared]) -> str:
    """Return the confusion matrices side by side, and of two runs over the same classes their difference."""
    known = [one for one in compared if one.counts]
    if not known:
        return ""
    inner = "".join(
        f"<section><h4>{_swatch(one)}{escape(name)}</h4>"
        f"{confusion(one.classes, one.counts, label=f'Confusion of {name}')}</section>"
        for name, one in zip(_names(known), known)
    )
    if len(known) == 2 and known[0].classes == known[1].classes:
        first, second = known
        inner += (
            f"<section><h4>{escape(second.run.name)} minus {escape(first.run.name)}</h4>"
            f"{_difference(first.classes, first.counts, second.counts)}</section>"
        )
    return (
        '<section class="ps-card ps-compared"><h3>Confusion</h3>'
        '<p class="ps-quiet">Row: what it is. Column: what it was called.</p>'
        f'<div class="ps-matrices">{inner}</div></section>'
    )


def _difference(classes: Sequence[str], first: Sequence[Sequence[int]], second: Sequence[Sequence[int]]) -> str:
    """Return the difference of two matrices: green where the second is better, red where it is worse."""
    heads = "".join(f'<th scope="col" title="{escape(name)}"><span>{escape(name)}</span></th>' for name in classes)
    most = max((abs(b - a) for one, two in zip(first, second) for a, b in zip(one, two)), default=0) or 1
    rows = ""
    for i, name in enumerate(classes):
        cells = ""
        for j, (a, b) in enumerate(zip(first[i], second[i])):
            change = b - a
            tone = "right" if (change > 0) == (i == j) else "wrong"
            shown = f'class="ps-{tone}" style="--share:{abs(change) / most:.2f}"' if change else ""
            said = escape(f"{classes[i]} called {classes[j]}: {a}, then {b}")
            cells += f'<td {shown} title="{said}">{f"{change:+d}" if change else ""}</td>'
        rows += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    return (
        '<div class="ps-scroll" tabindex="0" role="region" aria-label="Difference of the confusion matrices">'
        f'<table class="ps-confusion"><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def titles(runs: Sequence[Run], now: float) -> list[tuple[str, str]]:
    """Return (title, id) of each run for the menu."""
    found: list[tuple[str, str]] = []
    for run in runs:
        kinds = " · ".join(str((run.config.get(part) or {}).get("kind", "?")) for part in ("method", "data"))
        how = pieces.result(run.result or {}) if run.state == "succeeded" else run.state
        found.append((f"{run.name} · {kinds} · {how} · {pieces.ago(run.created, now)}", run.id))
    return found
