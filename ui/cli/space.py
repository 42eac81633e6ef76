"""`pointsmith space`: make a demo Space of adapters on the Hub, and push it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from ...core.errors import UserError
from .output import print_json
from .push import tell


@click.command()
@click.argument("adapters", metavar="OWNER/NAME[@REVISION]...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the Space's files into this new folder.")
@click.option("--push", "name", metavar="OWNER/NAME", help="Publish it as this Space, in one commit.")
@click.option("--title", help="What the Space is called.  [default: the adapter's name]")
@click.option(
    "--hardware",
    type=click.Choice(["cpu", "zero"]),
    default="cpu",
    show_default=True,
    help="What it is made for: a free CPU, or ZeroGPU.",
)
@click.option("--private/--public", default=None, help="Who may see it.  [default: as it is; a new one public]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def space(
    adapters: tuple[str, ...],
    out: Path | None,
    name: str | None,
    title: str | None,
    hardware: Literal["cpu", "zero"],
    private: bool | None,
    as_json: bool,
) -> None:
    """Make a demo of adapters on the Hub that anyone can open: rotate a cloud, upload one, see the answer.

    The Space holds this package itself and needs neither Redis nor Celery. Each adapter is pinned to its commit.

    \b
    Example:
      pointsmith space ada/chairs --push ada/chairs-demo
      pointsmith space ada/chairs ada/scans --out demo && python demo/app.py
    """
    from ...core.hub.space import default_title, demos, push_space, write_space

    if out is None and name is None:
        raise UserError("Nothing to do", remedy="Say where to write it with --out, or to publish it with --push")
    shown = demos(adapters)
    called = title or default_title(shown)
    said: dict[str, object] = {"adapters": [str(one.id) for one in shown]}
    if out is not None:
        write_space(out, shown, title=called, hardware=hardware)
        said["folder"] = str(out.absolute())
    if name is not None:
        done = push_space(name, shown, title=called, hardware=hardware, private=private, told=tell)
        said |= done.__dict__
    if as_json:
        print_json(said)
        return
    if out is not None:
        click.echo(f"{out}: try it with `python {out / 'app.py'}`")
    if name is not None:
        click.echo(f"{said['url']}\nrevision {said['revision']}")
