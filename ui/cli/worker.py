"""`pointsmith worker`: workers without the page, for the split set-up."""

from __future__ import annotations

import logging
from pathlib import Path

import click


@click.command()
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Runs trained at a time.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of runs and uploads, the page's own.  [default: $POINTSMITH_DATA, or the user's]",
)
def worker(workers: int, data: Path | None) -> None:
    """Take runs from the queue and train them, until Ctrl-C, which drains: running ones go on elsewhere or later.

    The queue is the Redis at REDIS_URL or, without it, the private one of the data folder.

    \b
    Example:
      pointsmith serve --no-worker &
      pointsmith worker
    """
    from ...worker.service import Service, ending_on_sigterm

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with ending_on_sigterm(), Service(data, workers) as service:
        click.echo(f"{workers} worker(s) on {service.store.address.shown}, data in {service.data_dir}. Ctrl-C stops.")
        try:
            service.wait()
        except KeyboardInterrupt:
            click.echo("Stopping; runs that are under way write a checkpoint and go back to the queue.", err=True)
