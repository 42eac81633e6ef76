"""`pointsmith vtab`: train the tasks of VTAB-1k one after another and report the means of the three groups."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .names import known
from .output import percent, print_json, table
from .run_options import RunOptions, make_run, run_options
from .session import check_free, default_folder, resumable_config

if TYPE_CHECKING:
    from ...core.training.vtab import VtabReport


@click.command()
@run_options
@click.option("--tasks", default="all", show_default=True, help="all, a group (natural, …), or names with commas.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of all tasks.  [default: ./runs/TIME-NAME]")
@click.option("--resume", is_flag=True, help="Go on with the series in --out; finished tasks are not run again.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end; progress goes to stderr.")
@click.pass_context
def vtab(
    ctx: click.Context, tasks: str, out: Path | None, resume: bool, device: str, as_json: bool, **options: Any
) -> None:
    """Train the tasks of VTAB-1k, one run each, and report every task, the mean of each group, and the mean of those.

    \b
    Example:
      pointsmith vtab --recipe adaptformer-x-vtab --set data.path=vtab-1k --out runs/vtab
    """
    from ...core.training.device import pick_device
    from ...core.training.vtab import of_task, report_on
    from .series import run_series

    pick_device(device)
    base = resumable_config(out) if resume else None
    run = make_run(RunOptions(**options), base)
    chosen = _tasks(tasks)
    folder = out or default_folder(f"vtab-{run.method.kind}")
    if not resume:
        check_free(folder)
    members = {task: of_task(run, task) for task in chosen}
    try:
        done = run_series(
            run, members, folder, device, sys.stderr if as_json else sys.stdout, lambda found: report_on(run, found)
        )
    except KeyboardInterrupt:
        done = None
    if done is None:
        click.echo(f"Stopped. Go on with: pointsmith vtab --out {folder} --resume --tasks {tasks}", err=True)
        ctx.exit(130)
    report = report_on(run, done)
    if as_json:
        print_json({**report.model_dump(), "folder": str(folder.absolute())})
    else:
        _show(report)


def _tasks(text: str) -> list[str]:
    """Return the tasks that `--tasks` names, in the order of the groups."""
    from ...core.training.vtab import GROUPS, TASKS

    wanted: set[str] = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word == "all":
            wanted |= set(TASKS)
        elif word in GROUPS:
            wanted |= set(GROUPS[word])
        else:
            wanted.add(known(word, TASKS, "task"))
    if not wanted:
        raise UserError("No task is named", got=text, expected="all, a group, or names with commas")
    return [task for task in TASKS if task in wanted]


def _show(report: VtabReport) -> None:
    rows = [(one.name, percent(one.test_accuracy), str(one.best_epoch), one.selected_on) for one in report.tasks]
    click.echo("\n" + table(("task", "test", "epoch", "chosen on"), rows))
    for name, mean in report.groups.items():
        click.echo(f"{name}: {percent(mean)}")
    if report.mean is not None:
        click.echo(f"Mean of the three groups: {percent(report.mean)}")
