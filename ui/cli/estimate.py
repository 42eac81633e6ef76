"""`pointsmith estimate`: memory and time of a run, from a few steps of a model of its shapes, before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .output import duration, print_json, table
from .run_options import RunOptions, make_run, run_options

if TYPE_CHECKING:
    from ...core.training.estimate import Estimate

_GUESS = 15


@click.command()
@run_options
@click.option("--inputs", type=click.IntRange(min=2), help="Training clouds or images, for the time of the whole run.")
@click.option("--classes", type=click.IntRange(min=2), help="Classes, where the data do not say without being read.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print the estimate as JSON.")
def estimate(inputs: int | None, classes: int | None, device: str, as_json: bool, **options: Any) -> None:
    """Say what a run would take: peak memory and seconds a step for each `memory` mode, and the largest batch.

    Nothing of the data or the weights is read: a model of the same shapes with random weights makes a few steps.

    \b
    Example:
      pointsmith estimate --recipe dapt-scan-hardest
      pointsmith estimate --method lora --batch-size 256 --set memory_budget=8
    """
    from ...core.training.estimate import Job
    from ...core.training.estimate import estimate as measure
    from ..review import count_classes, count_parts

    run = make_run(RunOptions(**options))
    known = classes or count_classes(run) or _GUESS
    parts = (count_parts(run) or 3 * known) if run.data.answers == "parts" else 0
    found = measure(Job(run=run, classes=known, parts=parts, inputs=inputs, device=device))
    if as_json:
        print_json(found.model_dump())
    else:
        _show(found)


def _show(found: Estimate) -> None:
    from ...core.training.memory import gib

    base, allowed = gib(found.base_bytes), gib(found.allowed_bytes)
    click.echo(f"Batches of {found.batch_size} on {found.device}, {found.precision}.")
    click.echo(f"Program, model and data take {base}; a step may take {allowed} more.")
    rows = [
        [
            one.mode + (" *" if one.mode == found.chosen else ""),
            str(one.pieces),
            gib(one.peak_bytes),
            f"{one.per_input_bytes / 1e6:.2f} MB",
            "–" if one.seconds_per_step is None else f"{one.seconds_per_step:.2f} s",
            f"{one.largest_batch:,}" if one.largest_batch else "none",
        ]
        for one in found.modes
    ]
    click.echo(table(("memory", "pieces", "peak", "each input", "a step", "largest batch"), rows))
    click.echo(f"* is what the run takes ({found.chosen}).")
    if found.steps is not None and found.total_seconds is not None:
        took = duration(found.total_seconds)
        click.echo(f"{found.steps:,} steps take about {took}; reading the data and scoring come on top.")
    for note in found.notes:
        click.echo(note)
