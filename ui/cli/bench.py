"""`pointsmith bench`: how fast and how small this is on this machine, beside what others do for the same work."""

from __future__ import annotations

import click

from ...core.bench.harness import Options, Report, conditions
from ...core.bench.registry import BENCHMARKS, run
from .output import print_json, table

ALL = BENCHMARKS | {"page_refresh": ("pointsmith.ui.page_refresh", "one second of an open page, in the web process")}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "listing", is_flag=True, help="Say what can be measured, and measure nothing.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="Threads of PyTorch.")
@click.option("--rounds", type=click.IntRange(min=1), help="How often each runs (7, or 2 if small).")
@click.option("--small", is_flag=True, help="Sizes that end within seconds; the numbers mean little.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(names: tuple[str, ...], listing: bool, threads: int, rounds: int | None, small: bool, as_json: bool) -> None:
    """Measure against peers in one process, in turn; without a NAME everything
    (what needs a GPU only where there is one). Ratios come last: above 1, ours wins.

    Processor time unless the table says otherwise. A peer that is not installed is named and left out.

    \b
    Example:
      pointsmith bench fps_cpu group_cpu
    """
    if listing:
        rows = [(name, about) for name, (_, about) in ALL.items()]
        click.echo(table(("name", "measures"), rows)) if not as_json else print_json(dict(rows))
        return
    options = Options(threads, rounds or (2 if small else 7), small)
    reports: list[Report] = []
    for name in names or _here():
        report = run(name, options, ALL)
        reports.append(report)
        if not as_json:
            click.echo(report.markdown() + "\n")
    told = conditions(options)
    if as_json:
        print_json({"conditions": told, "reports": [report.json() for report in reports]})
    else:
        click.echo("\n".join(f"{key}: {value}" for key, value in told.items()))


def _here() -> list[str]:
    """Return the names of all that this machine can measure."""
    import torch

    return [name for name in ALL if torch.cuda.is_available() or not name.startswith("gpu_")]
