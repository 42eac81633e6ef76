"""`pointsmith workers`: who trains, where, on what, and when they were last heard of."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from .output import print_json, table
from .runs import open_store, service_option


@click.command()
@service_option("--data", "--service")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def workers(service: Path | None, as_json: bool) -> None:
    """List the workers that gave a sign of life in the last minute.

    \b
    Example:
      pointsmith workers
    """
    with open_store(service) as store:
        found = store.workers()
    if as_json:
        print_json([asdict(worker) for worker in found])
    elif not found:
        click.echo("No worker is running. Start one with `pointsmith worker`.")
    else:
        now = time.time()
        rows = [
            (
                worker.host,
                worker.device,
                f"{worker.memory_gb:.0f} GB" if worker.memory_gb else "–",
                (worker.running or "idle")[:8],
                f"{max(0.0, now - worker.heartbeat):.0f} s ago",
                ", ".join(worker.queues),
            )
            for worker in found
        ]
        click.echo(table(("host", "device", "memory", "runs", "heartbeat", "takes"), rows))
