"""`pointsmith fewshot`: train the folds of a few-shot task one after another and report mean and deviation."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import percent, print_json, table
from .run_options import RunOptions, absolute, make_run, run_options
from .session import check_free, default_folder, resumable_config

if TYPE_CHECKING:
    from ...core.config import RunConfig
    from ...core.training.fewshot import FewShotReport

_CHOSEN = {
    "last": "the last epoch of each fold",
    "validation": "each fold's best epoch on its validation clouds",
    "test": "each fold's best epoch on its TEST clouds, as the papers report: optimistic",
}


@click.command()
@run_options
@click.option("--way", type=click.IntRange(min=2), help="Classes of a fold.  [default: 5]")
@click.option("--shot", type=click.IntRange(min=1), help="Training clouds of each class.  [default: 10]")
@click.option("--folds", type=click.IntRange(min=1), help="How many folds.  [default: 10]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of all folds.  [default: ./runs/TIME-NAME]")
@click.option("--resume", is_flag=True, help="Go on with the task in --out; finished folds are not run again.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end; progress goes to stderr.")
@click.pass_context
def fewshot(
    ctx: click.Context,
    way: int | None,
    shot: int | None,
    folds: int | None,
    out: Path | None,
    resume: bool,
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Run N-way K-shot folds, published or drawn from any labelled clouds, and report their mean ± deviation.

    The last epoch of each fold counts, unless the recipe or `--set select=…` says otherwise; the papers count the best
    epoch on the test clouds, which the few-shot recipes do and the report then says.

    \b
    Example:
      pointsmith fewshot --recipe fewshot-dapt --set data.path=ModelNetFewshot --way 5 --shot 10
      pointsmith fewshot --data my_scans/ --way 3 --shot 5 --set data.queries=4 --folds 10 --out runs/few
    """
    base = resumable_config(out) if resume else None
    config = _config(RunOptions(**options), base, {"way": way, "shot": shot})
    folder = out or default_folder(f"fewshot-{config.method.kind}")
    if resume:
        folds = folds or _planned(folder)
    else:
        check_free(folder)
    try:
        report = _run(config, folder, folds or 10, device, as_json)
    except KeyboardInterrupt:
        report = None
    if report is None:
        click.echo(f"Stopped. Go on with: pointsmith fewshot --out {folder} --resume", err=True)
        ctx.exit(130)
    if as_json:
        print_json({**report.model_dump(), "folder": str(folder.absolute())})
    else:
        _show(report)
        click.echo(f"Report: {folder / 'report.json'}")


def _planned(folder: Path | None) -> int:
    """Return how many folds the task in a folder has; UserError for a folder of something else."""
    place = folder / "report.json" if folder else None
    if place is None or not place.is_file():
        raise UserError("There is no few-shot task to resume", got=str(folder), expected="a folder with report.json")
    return json.loads(place.read_text(encoding="utf-8"))["planned"]


def _config(options: RunOptions, base: Path | None, task: dict[str, int | None]) -> RunConfig:
    """Return the run that every fold repeats; any labelled clouds become the data that folds are drawn from."""
    from ...core.config import parse_config
    from ...core.data.config import PointData

    if not (options.recipe or options.config or base):
        options = replace(options, settings=("select=last", *options.settings))
    run = make_run(options, base)
    if not isinstance(run.data, PointData):
        raise UserError("Few-shot folds are of clouds", got=run.data.kind, expected="data of points")
    content = run.model_dump(mode="json")
    if run.data.kind != "fewshot":
        inner = {"kind": run.data.kind, **run.data.model_dump(mode="json", exclude_defaults=True)}
        outer = {name: inner.pop(name) for name in ("preparation", "sampling") if name in inner}
        inner.pop("validation", None)
        content["data"] = {"kind": "fewshot", "base": inner, **outer}
        if content["select"] == "validation":
            content["select"] = "last"
    content["data"] |= {name: count for name, count in task.items() if count is not None}
    return absolute(parse_config(content, "The few-shot task"))


def _run(config: RunConfig, folder: Path, folds: int, device: str, as_json: bool) -> FewShotReport | None:
    """Run the folds that are not finished; None where the user stopped one."""
    from ...core.training.device import pick_device
    from ...core.training.fewshot import name_of, of_fold, report_on
    from .series import run_series

    pick_device(device)
    members = {name_of(fold): of_fold(config, fold) for fold in range(folds)}
    stream = sys.stderr if as_json else sys.stdout
    done = run_series(config, members, folder, device, stream, lambda found: report_on(config, found, folds))
    return None if done is None else report_on(config, done, folds)


def _show(report: FewShotReport) -> None:
    rows = [(one.name, percent(one.test_accuracy), str(one.best_epoch), ", ".join(one.classes)) for one in report.folds]
    click.echo("\n" + table(("fold", "test", "epoch", "classes"), rows))
    spread = f" ± {100 * report.std:.1f}" if report.std is not None else ""
    mean = 100 * (report.mean or 0.0)
    click.echo(
        f"\n{report.way}-way {report.shot}-shot, {len(report.folds)} folds: {mean:.1f}{spread} % "
        f"(mean ± standard deviation over folds; {_CHOSEN[report.selected_on]})"
    )
