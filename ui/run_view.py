"""One run as HTML: where it stands, how it went, why it failed; and the list of all runs. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from ..core.config import RunConfig, parse_config
from ..core.errors import UserError
from ..worker.marks import REPENT
from ..worker.own_runs import OTHERS
from ..worker.run import FINAL, Run, WorkerInfo
from . import pieces
from .command import command_line
from .curves import Seen
from .pieces import ago, bar, chip, code, duration, empty, facts, notice, percent, size
from .remedies import ADVICE, MEANS, Remedy

_STAGES = {
    "data": "Loading the data",
    "backbone": "Loading the backbone",
    "train": "Training",
    "test": "Scoring the test part",
    "save": "Writing the adapter",
}


def share(run: Run) -> float:
    """Return how much of a run is done, 0..1, as far as its progress tells."""
    if run.state == "succeeded":
        return 1.0
    done, whole = run.progress.get("step") or 0, run.progress.get("steps") or 0
    return min(1.0, done / whole) if whole else 0.0


def run_list(runs: Sequence[Run], workers: Sequence[WorkerInfo], now: float) -> str:
    """Return the list of runs, newest first, each a link to its own address."""
    if not runs:
        return empty("No run yet", "Start one under Train: the default settings finish in about two minutes.")
    waiting = [run for run in runs if run.state == "queued"]
    said = []
    served = {queue for worker in workers for queue in worker.queues}
    if waiting and not workers:
        said = ["No worker is running, so queued runs wait. Start one with `pointsmith worker`."]
    elif stuck := sorted({run.needs.queue for run in waiting} - served):
        said = [f"No worker serves {', '.join(stuck)}: runs that ask for that wait. Start one on such a machine."]
    rows = "".join(f"<li>{_chooser(run)}{_row(run, now)}</li>" for run in runs)
    few = " ps-few" if len(runs) < 2 else ""
    bar = f'<p class="ps-chosen{few}"><span>Tick runs to compare them.</span>{_COMPARE}</p>'
    return f'{notice("warning", said)}{bar}<ul class="ps-runs{few}">{rows}</ul>'


_COMPARE = '<a class="ps-button" href="?compare=" data-compare>Compare</a>'


def _chooser(run: Run) -> str:
    return (
        f'<label class="ps-choose"><input type="checkbox" data-choose="{run.id}" '
        f'aria-label="Choose {escape(run.name, quote=True)} to compare"></label>'
    )


def undo(runs: Sequence[Run], now: float) -> str:
    """Return what is in the bin: a line for each run, with a button that brings it back."""
    if not runs:
        return ""
    rows = "".join(
        f'<li class="ps-undo"><span><b>{escape(run.name)}</b>, deleted {_left(run, now)}</span>{_undo_button(run)}</li>'
        for run in runs
    )
    return f'<section class="ps-bin"><h3>Recently deleted</h3><ul>{rows}</ul></section>'


def _left(run: Run, now: float) -> str:
    """Return how long ago a run was deleted, and how long it can be had back."""
    since = run.discarded or now
    left = max(1, round((since + REPENT - now) / 60))
    return f"{escape(ago(since, now))}; gone for good in about {left} min."


def _undo_button(run: Run) -> str:
    name = escape(run.name, quote=True)
    return f'<button type="button" class="ps-button" data-undo="{run.id}" aria-label="Undo: {name}">Undo</button>'


def worker_list(workers: Sequence[WorkerInfo], runs: Sequence[Run], now: float) -> str:
    """Return the workers as a table: host, device, memory, what it runs, its last sign of life."""
    if not workers:
        return ""
    names = {run.id: run.name for run in runs}
    rows = "".join(_worker(worker, names, now) for worker in workers)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Host", "Device", "Memory", "Runs", "Last heartbeat"))
    return (
        f'<h3>Workers</h3><div class="ps-scroll" tabindex="0" role="region" aria-label="Workers">'
        f'<table class="ps-workers"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _worker(worker: WorkerInfo, names: dict[str, str], now: float) -> str:
    memory = f"{worker.memory_gb:.0f} GB" if worker.memory_gb else "–"
    doing = "idle"
    if worker.running == OTHERS:
        doing = "a run of somebody else"
    elif worker.running:
        name = escape(names.get(worker.running, worker.running[:8]))
        doing = f'<a href="?run={worker.running}" data-run="{worker.running}">{name}</a>'
    # In steps, so that the table does not change with every look.
    past = max(0, int(now - worker.heartbeat)) // 10 * 10
    seen = f"{past} s ago" if past else "just now"
    cells = (escape(worker.host), escape(worker.device), memory, doing, seen)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _row(run: Run, now: float) -> str:
    kinds = " · ".join(str((run.config.get(part) or {}).get("kind", "?")) for part in ("method", "data", "backbone"))
    right = pieces.result(run.result or {}) if run.state == "succeeded" else _brief(run)
    tags = "".join(f'<span class="ps-tag">{escape(tag)}</span>' for tag in run.tags)
    return (
        f'<a class="ps-run" href="?run={run.id}" data-run="{run.id}">'
        f"{chip(run.state, 'cancelling' if run.cancelling and run.state == 'running' else None)}"
        f'<span class="ps-run-name"><b>{escape(run.name)}{tags}</b><small>{escape(kinds)}</small></span>'
        f'<span class="ps-run-bar">{bar(share(run), run.name) if run.state in ("running", "succeeded") else ""}</span>'
        f'<span class="ps-run-right">{escape(right)}<small>{escape(ago(run.created, now))}</small></span></a>'
    )


def _brief(run: Run) -> str:
    if run.state == "queued":
        return f"place {run.position}" if run.position else "queued"
    if run.state == "running":
        epoch, epochs = run.progress.get("epoch"), run.progress.get("epochs")
        return f"epoch {epoch} of {epochs}" if epoch and epochs else str(run.progress.get("stage") or "starting")
    return f"{(run.error or {}).get('kind') or 'error'}" if run.state == "failed" else "–"


def header(run: Run, seen: Seen, workers: Sequence[WorkerInfo], now: float) -> str:
    """Return name, state, stage, progress with time left, queue place; the reason on failure."""
    state = "cancelling" if run.cancelling and run.state == "running" else None
    parts = [f'<div class="ps-head"><h2>{escape(run.name)}</h2>{chip(run.state, state)}</div>']
    if run.discarded is not None:
        line = f"<span>This run was deleted {_left(run, now)}</span>{_undo_button(run)}"
        parts.append(f'<p class="ps-undo" role="status">{line}</p>')
    if run.tags or run.note:
        tags = "".join(f'<span class="ps-tag">{escape(tag)}</span>' for tag in run.tags)
        parts.append(f'<p class="ps-note-text">{tags}{escape(run.note)}</p>')
    parts.append(f'<p class="ps-status" role="status">{escape(_status(run, workers, now))}</p>')
    # The place of bar and facts is kept from the start: nothing below may jump when they come or go.
    going = run.state in ("running", "queued")
    busy = run.state == "running" and not share(run)
    shown = bar(share(run), "progress of the run", busy=busy) if going else ""
    parts.append(f'<div class="ps-bar-place">{shown}</div>')
    if run.error:
        kind = str(run.error.get("kind"))
        said = (MEANS.get(kind, ""), str(run.error.get("message") or "The run failed."))
        parts.append(notice("error", [" ".join(one for one in said if one)]))
        parts.append(notice("info", [ADVICE[kind]] if kind in ADVICE else []))
    parts.append(facts(_facts(run, seen)))
    return "".join(parts)


def remedies(run: Run, found: Sequence[Remedy]) -> str:
    """Return a button for each remedy of an ended run, one that fills the form, and the last lines."""
    if run.state not in FINAL:
        return ""
    if run.state == "succeeded" and not found:
        return '<button type="button" class="ps-button" data-remedy="clone">Clone with changes</button>'
    shown = [*found, Remedy("clone", "Clone with changes", "fills the form with these settings", {})]
    buttons = "".join(
        f'<button type="button" class="ps-remedy" data-remedy="{one.key}"><b>{escape(one.label)}</b>'
        f"<small>{escape(one.about)}</small></button>"
        for one in shown
    )
    last = [str(line) for line in (run.error or {}).get("log") or []][-40:]
    told = code("\n".join(last), "Last lines") if last else ""
    return f'<div class="ps-remedies" role="group" aria-label="What to do now">{buttons}</div>{told}'


def _status(run: Run, workers: Sequence[WorkerInfo], now: float) -> str:
    if run.state == "queued":
        place = f"Number {run.position} in the queue." if run.position else "In the queue."
        if run.attempt:
            place += f" Interrupted after attempt {run.attempt}; it resumes from its last checkpoint."
        return place if workers else f"{place} No worker is running: start one with `pointsmith worker`."
    spent = duration((run.finished or now) - (run.started or run.created))
    if run.state == "succeeded":
        return f"Finished in {spent}, {ago(run.finished or now, now)}."
    if run.state == "failed":
        return f"Failed after {spent}."
    if run.state == "cancelled":
        return "Cancelled before it started." if not run.started else f"Cancelled after {spent}."
    progress = run.progress
    stage = str(progress.get("stage") or "")
    said = [_STAGES.get(stage, stage.capitalize() or "Starting")]
    if progress.get("stage") == "train" and progress.get("epochs"):
        said = [f"Epoch {progress.get('epoch') or 1} of {progress['epochs']}"]
        if progress.get("step") and progress.get("steps"):
            said.append(f"step {progress['step']} of {progress['steps']}")
        if progress.get("eta_seconds") is not None and progress.get("step"):
            said.append(f"about {duration(progress['eta_seconds'])} left")
    elif progress.get("message"):
        said.append(str(progress["message"]))
    if run.attempt > 1:
        said.append(f"attempt {run.attempt}")
    return ", ".join(said) + "."


def _facts(run: Run, seen: Seen) -> list[tuple[str, str]]:
    result, plan = run.result or {}, seen.plan or {}
    found: list[tuple[str, str]] = []
    if result:
        how = {"validation": "best on validation", "test": "best on TEST: optimistic", "last": "last epoch"}
        metric = str(result.get("metric") or "accuracy")
        found.append((f"Test {metric}", percent(result.get("test_accuracy"))))
        found.append(("Validation", percent(result.get("validation_accuracy"))))
        chosen = how.get(str(result.get("selected_on")), "")
        found.append(("Kept epoch", f"{result.get('best_epoch')} of {result.get('epochs')} ({chosen})"))
        found.append(("Adapter", size(int(result.get("adapter_bytes") or 0))))
    elif seen.epochs:
        latest = seen.epochs[-1]
        metric = str(plan.get("metric") or "accuracy")
        found.append((f"Training {metric}", percent(latest.get("train_accuracy"))))
        found.append((f"Validation {metric}", percent(latest.get("validation_accuracy"))))
    if plan:
        found.append(("Trainable", f"{plan['trainable']:,} of {plan['total']:,}"))
        clouds = "{train_clouds} / {validation_clouds} / {test_clouds}".format(**plan)
        found.append(("Train / validation / test", clouds))
        found.append(("Device", f"{plan['device']}, {plan['precision']}"))
    if run.state == "running" and seen.last:
        found.append(("Speed", f"{seen.last['clouds_per_second']:.0f} {plan.get('noun', 'clouds')}/s"))
    if run.worker and run.state == "running":
        found.append(("Worker", run.worker))
    return found


def results(seen: Seen) -> str:
    """Return test accuracy by class and the confusion matrix, or mIoU by part; empty before they are known."""
    scores = seen.scores.get("test") or seen.scores.get("validation")
    if not scores or not seen.plan:
        return ""
    classes = [str(name) for name in seen.plan["classes"]]
    split = escape(str(scores["split"]))
    rows = "".join(pieces.share_row(name, value) for name, value in zip(classes, scores["per_class"], strict=True))
    average = percent(scores.get("mean_class_accuracy"))
    if scores.get("per_part"):
        return _part_results(seen.plan, scores, rows, average)
    return (
        f'<div class="ps-results"><section><h3>Accuracy by class ({split})</h3><p>Mean over classes {average}</p>'
        f'<table class="ps-classes"><tbody>{rows}</tbody></table></section>'
        f"<section><h3>Confusion ({split})</h3><p>Row: what it is. Column: what it was called. "
        f"Click a number to see its {escape(str(seen.plan.get('noun') or 'clouds'))}.</p>"
        f"{confusion(classes, scores['confusion'], opens=True)}</section></div>"
    )


def _part_results(plan: dict[str, Any], scores: dict[str, Any], rows: str, average: str) -> str:
    """Return mIoU by category, and IoU by part."""
    split = escape(str(scores["split"]))
    named = [(f"{name}: {part}") for name, own in zip(plan["classes"], plan["part_names"]) for part in own]
    parts = "".join(
        pieces.share_row(name, value)
        for name, value in zip(named, scores["per_part"], strict=True)
        if value is not None
    )
    return (
        f'<div class="ps-results"><section><h3>mIoU by category ({split})</h3>'
        f"<p>Instance mIoU {percent(scores['accuracy'])}, class mIoU {average}</p>"
        f'<table class="ps-classes"><tbody>{rows}</tbody></table></section>'
        f"<section><h3>IoU by part ({split})</h3><p>Mean over the clouds in which it is or was answered; "
        f"{percent(scores['point_accuracy'])} of all points are right.</p>"
        f'<table class="ps-classes"><tbody>{parts}</tbody></table></section></div>'
    )


def confusion(
    classes: Sequence[str], counts: Sequence[Sequence[int]], *, opens: bool = False, label: str = "Confusion matrix"
) -> str:
    """Return the matrix as a table; a cell's colour is its share of the row. With `opens` cells are buttons."""
    header_cells = "".join(
        f'<th scope="col" title="{escape(name)}"><span>{escape(name)}</span></th>' for name in classes
    )
    rows: list[str] = []
    for i, (name, row) in enumerate(zip(classes, counts)):
        whole = sum(row) or 1
        cells = "".join(_cell(classes, (i, j), count, count / whole, opens) for j, count in enumerate(row))
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        f'<div class="ps-scroll" tabindex="0" role="region" aria-label="{escape(label, quote=True)}">'
        f'<table class="ps-confusion"><thead><tr><td></td>{header_cells}</tr></thead><tbody>{"".join(rows)}</tbody>'
        f"</table></div>"
    )


def _cell(classes: Sequence[str], at: tuple[int, int], count: int, portion: float, opens: bool) -> str:
    i, j = at
    if not count:
        return "<td></td>"
    tone = "right" if i == j else "wrong"
    strong = " ps-strong" if portion > 0.55 else ""
    said = escape(f"{count} × {classes[i]} called {classes[j]}")
    shown = str(count)
    if opens:
        shown = f'<button type="button" data-cell="{i},{j}" aria-label="{said}: show them">{count}</button>'
    return f'<td class="ps-{tone}{strong}" style="--share:{portion:.2f}" title="{said}">{shown}</td>'


def log(lines: Sequence[str], state: str) -> str:
    """Return the last lines of the trainer's log."""
    if not lines:
        return "" if state == "queued" else '<p class="ps-quiet">The trainer has not written anything yet.</p>'
    return f'<pre class="ps-log" tabindex="0">{escape(chr(10).join(lines))}</pre>'


def recipe(config: dict[str, Any]) -> str:
    """Return the command line and the YAML that repeat a run."""
    try:
        parsed: RunConfig = parse_config(config)
    except UserError as error:
        return notice("warning", [f"Written by another version of Pointsmith: {error}"])
    return code(command_line(parsed), "Command line") + code(parsed.to_yaml(), "YAML")
