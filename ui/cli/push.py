"""`pointsmith push`: publish an adapter on the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .output import print_json


@click.command()
@click.argument("folder", metavar="ADAPTER", type=click.Path(path_type=Path))
@click.argument("name", metavar="OWNER/NAME")
@click.option("--private/--public", default=None, help="Who may see it.  [default: as it is; a new one public]")
@click.option("--licence", "--license", metavar="ID", default="apache-2.0", show_default=True, help="Of the adapter.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def push(folder: Path, name: str, private: bool | None, licence: str, as_json: bool) -> None:
    """Publish an ADAPTER folder as OWNER/NAME, with a card, in one commit: all of it, or nothing.

    The login is that of this machine: `hf auth login`, or HF_TOKEN in the environment, never an option. The card tells
    the results, the configuration, the command and the curves, and no path of this machine.

    \b
    Example:
      pointsmith push runs/chairs/adapter ada/chairs
      pointsmith push runs/chairs/adapter ada/chairs --private
    """
    from ...core.hub.push import push as publish
    from ..command import command_line

    done = publish(folder, name, private=private, licence=licence, command=command_line, told=tell)
    if as_json:
        print_json(done.__dict__)
    else:
        click.echo(f"{done.url}\nrevision {done.revision}\nLoad it: pointsmith predict {done.name} FILE")
        click.echo(f"Check it: pointsmith verify {done.name}@{done.revision}")


def tell(what: str, share: float) -> None:
    """Show what is being done, on a terminal as a line that is written over."""
    if sys.stderr.isatty():
        click.echo(f"\r{100 * share:3.0f} % {what:<60}", nl=share == 1.0, err=True)
