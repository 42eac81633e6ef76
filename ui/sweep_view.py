"""A sweep as HTML: how far it is, its table of means with every run's state, and what a plan would become. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import yaml

from ..core.training.sweep import (
    SEED,
    Combination,
    Expansion,
    Outcome,
    Stat,
    SweepPlan,
    describe,
    latex,
    spread,
    summarise,
    varied,
)
from ..worker.run import WorkerInfo
from ..worker.sweeps import Sweep
from .pieces import ago, bar, chip, code, duration, empty, notice, percent

_STATES = ("running", "queued", "succeeded", "failed", "cancelled")
_REFUSED = 12
"""So many impossible combinations are named; the others are counted."""


def preview(found: Expansion) -> str:
    """Return how many runs a plan makes, and which combinations are none, with the reasons."""
    count = len(found.members)
    told = f"<p class='ps-about'><b>{count} run{'' if count == 1 else 's'}</b> will be queued.</p>" if count else ""
    reasons: dict[str, list[str]] = {}
    for one in found.refused:
        place = {key: value for key, value in one.at.items() if key != SEED}
        reasons.setdefault(one.reason, []).append(describe(place))
    lines = [
        f"Left out: {places[0]}{f' and {len(set(places)) - 1} more' if len(set(places)) > 1 else ''}. {reason}"
        for reason, places in reasons.items()
    ]
    more = [f"and {len(lines) - _REFUSED} other reasons"] if len(lines) > _REFUSED else []
    return told + notice("warning" if count else "error", lines[:_REFUSED] + more)


def sweep_list(sweeps: Sequence[Sweep], now: float) -> str:
    """Return the sweeps, newest first, each a link to its own address."""
    if not sweeps:
        return empty("No sweep yet", "Choose methods and seeds above: every combination becomes a run.")
    rows = "".join(f"<li>{_row(one, now)}</li>" for one in sweeps)
    return f'<ul class="ps-runs ps-few">{rows}</ul>'


def _row(sweep: Sweep, now: float) -> str:
    done = sum(run.state == "succeeded" for run in sweep.runs)
    best = max((one.test.mean for one in summarise(sweep.outcomes) if one.test), default=None)
    right = f"best {percent(best)}" if best is not None else "–"
    return (
        f'<a class="ps-run" href="?sweep={sweep.id}" data-sweep="{sweep.id}">{chip(_state(sweep))}'
        f'<span class="ps-run-name"><b>{escape(sweep.name)}</b><small>{sweep.planned} runs</small></span>'
        f'<span class="ps-run-bar">{bar(done / max(1, sweep.planned), sweep.name)}</span>'
        f'<span class="ps-run-right">{right}<small>{escape(ago(sweep.created, now))}</small></span></a>'
    )


def _state(sweep: Sweep) -> str:
    states = {run.state for run in sweep.runs}
    return next((state for state in ("running", "queued", "failed", "cancelled") if state in states), "succeeded")


def header(sweep: Sweep, workers: Sequence[WorkerInfo], now: float) -> str:
    """Return name, state, how many runs are where, and what stands in the way."""
    counts = {state: sum(run.state == state for run in sweep.runs) for state in _STATES}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    said = []
    if counts["queued"] and not workers:
        said.append("No worker is running, so queued runs wait. Start one with `pointsmith worker`.")
    if sweep.missing:
        said.append(f"{sweep.missing} of {sweep.planned} runs are not there (deleted, or never queued).")
    ended = counts["succeeded"] + counts["failed"] + counts["cancelled"]
    return (
        f'<div class="ps-head"><h2>{escape(sweep.name)}</h2>{chip(_state(sweep))}</div>'
        f'<p class="ps-status" role="status">{escape(told)} of {sweep.planned}; '
        f"begun {escape(ago(sweep.created, now))}.</p>"
        f"{bar(ended / max(1, sweep.planned), 'ended runs of the sweep')}{notice('warning', said)}"
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the means and deviations of each combination, best test mean marked, with each run as a link."""
    keys, found = varied(outcomes), summarise(outcomes)
    if not found:
        return ""
    metric = next((run.metric for one in found for run in one.runs if run.state == "succeeded"), "accuracy")
    head = [*keys, "runs", f"validation {metric}", f"test {metric}", "parameters", "time", "memory"]
    best = max((one.test.mean for one in found if one.test), default=None)
    rows = "".join(_line(one, keys, best) for one in found)
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return (
        f'<div class="ps-scroll" tabindex="0" role="region" aria-label="Means of the sweep"><table class="ps-sweep">'
        f"<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="ps-quiet">Mean ± standard deviation over the seeds that are done. A dot is a run: '
        "filled when it succeeded.</p>"
    )


def _line(one: Combination, keys: Sequence[str], best: float | None) -> str:
    top = one.test is not None and one.test.mean == best
    names = "".join(
        f'<th scope="row">{escape(str(one.at.get(key, "")))}</th>'
        if key == "method"
        else f"<td>{escape(_cell(one, key))}</td>"
        for key in keys
    )
    dots = "".join(_dot(run) for run in one.runs)
    test = f"<b>{_share(one.test)}</b>" if top else _share(one.test)
    trainable = f"{one.trainable.mean:,.0f}" if one.trainable else "–"
    time = duration(one.seconds.mean) if one.seconds else "–"
    memory = f"{one.memory.mean / 1e9:.2f} GB" if one.memory else "–"
    numbers = "".join(f"<td>{cell}</td>" for cell in (_share(one.validation), test, trainable, time, memory))
    return f'<tr>{names}<td class="ps-dots-cell">{dots}</td>{numbers}</tr>'


def _cell(one: Combination, key: str) -> str:
    value = one.at.get(key, "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dot(run: Outcome) -> str:
    said = f"seed {run.at.get(SEED, '?')}: {run.state}"
    said += f", {percent(run.test)}" if run.test is not None else f", {run.error}" if run.error else ""
    return (
        f'<a class="ps-dot-run ps-{run.state}" href="?run={run.run}" data-run="{run.run}" '
        f'title="{escape(said)}" aria-label="{escape(said)}"></a>'
    )


def _share(stat: Stat | None) -> str:
    mean, deviation = spread(stat, 100)
    return f"{mean}{f' ± {deviation}' if deviation else ''} %" if mean else "–"


def exports(sweep: Sweep) -> str:
    """Return links to the tables as files."""
    links = (("means.csv", "CSV of means"), ("runs.csv", "CSV of runs"), ("table.tex", "LaTeX"))
    return "".join(
        f'<a class="ps-button" href="sweep/{sweep.id}/{name}" download>{escape(title)}</a> ' for name, title in links
    )


def details(sweep: Sweep) -> str:
    """Return the LaTeX table, and the plan with the command that repeats it."""
    told = code(latex(sweep.outcomes), "LaTeX (booktabs)")
    return told + (plan_told(sweep.plan) if sweep.plan else "")


def plan_told(plan: SweepPlan) -> str:
    """Return a plan as YAML, and the command that queues it."""
    content = plan.model_dump(mode="json", exclude_defaults=True)
    command = code("pointsmith sweep sweep.yaml --submit", "Command line, with the plan below in sweep.yaml")
    return command + code(yaml.safe_dump(content, sort_keys=False), "YAML")
