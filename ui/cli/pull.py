"""`pointsmith pull`: fetch an adapter from the Hub, or list those that are here; and how other verbs take an id."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import percent, print_json, table

if TYPE_CHECKING:
    from ...core.models.download import Progress


@click.command()
@click.argument("adapter", metavar="[OWNER/NAME[@REVISION]]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pull(adapter: str | None, as_json: bool) -> None:
    """Fetch an adapter from the Hub and print its folder; without a name, list those that are here.

    A revision is a branch, a tag or a commit. What was fetched is pinned to its commit, and works without a network
    from then on. Private ones need `hf auth login` or HF_TOKEN.

    \b
    Example:
      pointsmith pull ada/chairs
      pointsmith pull
    """
    from ...core.hub.place import require_hub_id
    from ...core.hub.pull import kept
    from ...core.hub.pull import pull as fetch

    if adapter is None:
        found = kept()
        if as_json:
            rows = [{"id": one.id.name, "revision": one.id.revision, "folder": str(one.folder)} for one in found]
            print_json(rows)
        elif not found:
            click.echo("No adapter was pulled yet. Fetch one with `pointsmith pull OWNER/NAME`.")
        else:
            shown = [
                (one.id.name, one.id.revision[:12], one.config.adapter_type, one.config.backbone.kind, _told(one.score))
                for one in found
            ]
            click.echo(table(("adapter", "revision", "method", "backbone", "its card says"), shown))
        return
    got = fetch(require_hub_id(adapter), report=telling())
    if got.offline:
        click.echo("The Hub cannot be reached: this is what it had when it last could.", err=True)
    if as_json:
        print_json({"id": got.id.name, "revision": got.id.revision, "folder": str(got.folder)})
    else:
        click.echo(f"{got.id.name} at {got.id.revision}\n{got.folder}")


def _told(score: float | None) -> str:
    return "–" if score is None else f"test {percent(score)}"


class telling:
    """Shows how far a download is, on a terminal only: a line that is written over."""

    def __init__(self) -> None:
        self.shown = 0

    def __call__(self, progress: Progress) -> None:
        if not sys.stderr.isatty():
            return
        text = str(progress)
        whole = progress.total_bytes == progress.done_bytes
        click.echo(f"\r{text:<{self.shown}}", nl=whole, err=True)
        self.shown = 0 if whole else len(text)


def pulled_if_named(adapter: Path) -> Path:
    """Return the folder of an adapter, fetched first where an id of the Hub was given, telling how far that is."""
    from ...core.hub.pull import find_adapter

    return find_adapter(adapter, report=telling())
