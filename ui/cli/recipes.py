"""`pointsmith recipes`: the ready-made runs that ship with the package."""

from __future__ import annotations

import click

from .names import known
from .output import print_json, table


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recipes(name: str | None, as_json: bool) -> None:
    """List the recipes, or print the YAML of the one called NAME.

    \b
    Example:
      pointsmith recipes
      pointsmith train --recipe demo --epochs 2
    """
    from ...core.recipes import recipes as find

    found = find()
    if name is None:
        if as_json:
            print_json([{"name": one.name, "about": one.summary} for one in found.values()])
        else:
            click.echo(table(("recipe", "about"), [(one.name, one.summary) for one in found.values()]))
        return
    one = found[known(name, found, "recipe")]
    if as_json:
        run = one.config().model_dump(mode="json")
        print_json({"name": name, "about": one.summary, "run": run})
    else:
        click.echo(f"# {one.summary}\n{one.config().to_yaml().rstrip()}")
