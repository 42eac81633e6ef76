"""`pointsmith verify`: score a pushed adapter again and compare it with its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import print_json
from .pull import telling

if TYPE_CHECKING:
    from ...core.adapters import AdapterConfig
    from ...core.data.config import DataConfig


@click.command()
@click.argument("adapter", metavar="OWNER/NAME[@REVISION]")
@click.option("--data", metavar="KIND|PATH", help="The data it was made with.  [default: by their name, from here]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--backbone-weights", metavar="PATH", help="The backbone's weight file, where it lies elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify(
    ctx: click.Context, adapter: str, data: str | None, device: str, backbone_weights: str | None, as_json: bool
) -> None:
    """Pull an adapter from the Hub, score it again, and compare with what its card says.

    Exit code 0 when every number is the same, 1 when one is not, 2 when it cannot be told.

    \b
    Example:
      pointsmith verify ada/chairs
      pointsmith verify ada/chairs@main --data my_chairs/
    """
    from ...core.hub.place import require_hub_id
    from ...core.hub.verify import verify as compare
    from .evaluate import data_for

    def named(folder: Path, config: AdapterConfig) -> DataConfig:
        return data_for(folder, config, data)

    found = compare(
        require_hub_id(adapter), data=named, device=device, backbone_weights=backbone_weights, report=telling()
    )
    if as_json:
        rows = [{**one.__dict__, "same": one.same} for one in found.compared]
        named_as = {"id": found.id.name, "revision": found.id.revision}
        print_json({**named_as, "same": found.same, "compared": rows, "notes": found.notes})
    else:
        for line in found.lines():
            click.echo(line)
    ctx.exit(0 if found.same else 1)
