"""`pointsmith worker`: workers without the page, for the split set-up."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import click


@click.command()
@click.option(
    "--workers", type=click.IntRange(min=1), help="Runs trained at a time.  [default: one for each GPU, else 1]"
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of runs and uploads, the page's own.  [default: $POINTSMITH_DATA, or the user's]",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu"]),
    default="auto",
    show_default=True,
    help="auto: one worker per GPU where there are GPUs; cpu: leave them alone.",
)
def worker(workers: int | None, data: Path | None, device: Literal["auto", "cpu"]) -> None:
    """Take runs from the queue and train them, until Ctrl-C, which drains: running ones go on elsewhere or later.

    The queue is the Redis at REDIS_URL or, without it, the private one of the data folder. On another machine than the
    page's, give both the same artefact store (POINTSMITH_ARTEFACTS: a shared folder, s3://…, hf://…) or data folder.

    \b
    Example:
      pointsmith serve --no-worker &
      pointsmith worker
    """
    from ...worker.devices import gpus
    from ...worker.service import Service, ending_on_sigterm

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    count = workers or (len(gpus()) if device == "auto" else 0) or 1
    with ending_on_sigterm(), Service(data, count, device=device) as service:
        try:
            click.echo(f"{count} worker(s) on {service.store.address.shown}, data in {service.data_dir}. Ctrl-C stops.")
            if service.store.artefacts is not None:
                click.echo(f"Artefacts in {service.store.artefacts.shown}: written, read back, deleted.")
            service.wait()
        except KeyboardInterrupt:
            click.echo("Stopping; runs that are under way write a checkpoint and go back to the queue.", err=True)
