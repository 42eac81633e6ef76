"""`pointsmith fetch`: the weights of a backbone come to this disk, before a run needs them."""

from __future__ import annotations

import sys
from typing import Any

import click

from ...core.errors import UserError
from .names import known
from .output import print_json, size


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Download again what is here already.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; progress goes to stderr.")
def fetch(name: str, force: bool, as_json: bool) -> None:
    """Fetch the weights of the backbone NAME, check them, and say where they lie. No network is needed afterwards.

    An interrupted download goes on where it broke. `pointsmith backbones` lists the names, and what is here.

    \b
    Example:
      pointsmith fetch point-mae
    """
    from ...core.config import choices
    from ...core.models import weight_files

    backbones: dict[str, Any] = choices("backbone")
    source = backbones[known(name, backbones, "backbone")].source
    if not weight_files.published(source):
        raise UserError(
            f"The backbone {name} has no weights of its own",
            remedy="Give a file of yours with --set backbone.weights=PATH, or make one with `pointsmith pretrain`",
        )
    here = weight_files.find(name, source)
    _download(name, source, force, sys.stderr if as_json else sys.stdout)
    found = weight_files.fetch(name, source)  # here by now: only checked
    count = found.path.stat().st_size
    if as_json:
        downloaded = not source.asset and (force or here is None)
        answer = {"backbone": name, "path": str(found.path), "bytes": count, "sha256": found.sha256}
        print_json({**answer, "downloaded": downloaded, "address": weight_files.address_of(source) or None})
    else:
        click.echo(f"{name}: {size(count)}, {'checked, ' if found.sha256 else ''}{found.path}")


def _download(name: str, source: Any, force: bool, stream: Any) -> None:
    from ...core.events import Stage
    from ...core.models.weight_files import fetching
    from .narrator import Narrator

    narrator = Narrator(stream)
    try:
        for at in fetching(name, source, force=force, every=0.2 if narrator.live else 0.5):
            narrator.tell(Stage(stage="backbone", message=str(at), done=at.done_bytes, total=at.total_bytes))
    except KeyboardInterrupt:
        narrator.line("Stopped. The same command goes on from here.")
        raise
    finally:
        narrator.close()
