"""`pointsmith inspect`: what a data set holds and what is wrong with it, before a run costs anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import duration, print_json, table
from .run_options import RunOptions, data_content

if TYPE_CHECKING:
    from ...core.data.config import DataConfig
    from ...core.data.inspect import Report
    from ...core.data.problems import Problem

_SHOWN = 8
_MARKS = {"error": "ERROR", "warning": "warning", "info": "info"}


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="YAML file of a run, whose data are inspected.")
@click.option("--recipe", metavar="NAME", help="Inspect the data of a recipe; see `pointsmith recipes`.")
@click.option(
    "--data", metavar="KIND|PATH", help="A kind, a folder or .zip with a sub-folder per class, an .h5 or list."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting, e.g. data.repair.copies=all.")
@click.option("--all", "everything", is_flag=True, help="Name every input with a problem.")
@click.option("--strict", is_flag=True, help="Exit with 1 if an error or a warning is left.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON; progress goes to stderr.")
@click.pass_context
def inspect(ctx: click.Context, everything: bool, strict: bool, as_json: bool, **options: Any) -> None:
    """Check a data set: unreadable files, copies across train and test, scale, up axis, balance.

    Nothing is changed. What a setting can mend is said with that setting, which `train` takes too.

    \b
    Example:
      pointsmith inspect --data my_scans/
      pointsmith inspect --data my_scans.zip --set data.repair.copies=across --strict
    """
    from ...core.data.inspect import inspect as check

    data, least = _data(RunOptions(**options))
    checking = check(data, least=least)
    while True:
        try:
            what, done, total = next(checking)
        except StopIteration as end:
            report: Report = end.value
            break
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[2K{what} {done} of {total}" if total > 1 else f"\r\x1b[2K{what}", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r\x1b[2K", nl=False, err=True)
    if as_json:
        print_json(_plain(report))
    else:
        click.echo(text(report, None if everything else _SHOWN))
    if strict and report.open_problems:
        ctx.exit(1)


def _data(options: RunOptions) -> tuple[DataConfig, int]:
    """Return the data set that the options describe, and how many points its run's backbone needs (1: not known)."""
    from pydantic import TypeAdapter, ValidationError

    from ...core.config import override, parse_config, read_inherited
    from ...core.data.config import DataConfig, with_paths
    from ...core.recipes import recipe
    from ...core.schema import explain

    if options.config and options.recipe:
        raise UserError("--config and --recipe are both given", remedy="Choose one of them")
    source = recipe(options.recipe).path if options.recipe else options.config
    content: dict[str, Any] = read_inherited(source) if source else {}
    if options.data:
        content["data"] = data_content(options.data, content.get("data"))
    content = override(content, [*options.settings])
    described = {"kind": "demo", **content.get("data", {})}
    try:
        data = TypeAdapter[DataConfig](DataConfig).validate_python(described)
    except ValidationError as error:
        raise explain(error, "The data") from error
    least = 1
    if source:
        least = getattr(parse_config({**content, "select": "last"}).backbone, "least_points", 1)
    return with_paths(data, lambda path: path.expanduser().absolute()), least


def _plain(report: Report) -> dict[str, Any]:
    """The report without the pictures, which are for eyes."""
    content = report.to_json()
    del content["pictures"]
    return {**content, "fingerprint": report.fingerprint, "ok": not report.open_problems}


def text(report: Report, shown: int | None) -> str:
    """Return the report for people, problems first, at most `shown` names with each."""
    inputs = "images" if report.modality == "images" else "clouds"
    lines = [f"{report.title}: {report.usable} of {report.inputs} {inputs} are sound; {len(report.counts)} classes"]
    for problem in report.problems:
        lines += ["", *_problem(problem, shown)]
    if not report.problems:
        lines += ["", "No problem was found."]
    lines += ["", *_numbers(report)]
    lines += ["", *_classes(report)]
    if report.trial.counts:
        got = {part: sum(counts) for part, counts in report.trial.counts.items()}
        told = ", ".join(f"{count} for {part}" for part, count in got.items())
        lines += ["", f"A run would take {told}.", *(f"  {note}" for note in report.trial.notes[:10])]
        lines += [f"Fingerprint: {report.fingerprint}"]
    lines.append(f"Checked in {duration(report.seconds)}.")
    return "\n".join(lines)


def _problem(problem: Problem, shown: int | None) -> list[str]:
    mark = "mended" if problem.mended else _MARKS[problem.level]
    lines = [f"{mark}: {problem.title}"]
    if problem.detail:
        lines.append(f"  {problem.detail}")
    names = problem.names if shown is None else problem.names[:shown]
    lines += [f"  - {name}" for name in names]
    left = len(problem.names) - len(names) + problem.more
    if left:
        lines.append(f"  - and {left} more")
    if problem.remedy and not problem.mended:
        settings = " ".join(f"--set data.{key}={_value(value)}" for key, value in problem.remedy.settings.items())
        lines.append(f"  {problem.remedy.label}: {settings}")
    return lines


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _numbers(report: Report) -> list[str]:
    lines = [
        f"{name}: {spread.low:.4g} to {spread.high:.4g}, median {spread.median:.4g}"
        for name, spread in report.spreads.items()
    ]
    if report.up:
        lines.append(f"up axis: {report.up['axis']} ({report.up['why']})")
    if report.grey:
        lines.append(f"grey images: {report.grey} of {report.usable}")
    return lines


def _classes(report: Report) -> list[str]:
    parts = [part for part in ("train", "validation", "test", "") if part in report.parts]
    if not parts or not report.counts:
        return []
    rows = [
        (name or "(no class)", *(str(counts.get(part, 0)) for part in parts)) for name, counts in report.counts.items()
    ]
    return [table(("class", *(part or "loose" for part in parts)), rows)]
