"""`pointsmith backbones` and `pointsmith datasets`: what there is to choose from, with every setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .output import print_json, table

if TYPE_CHECKING:
    from ...core.schema import Config


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every setting.")
def backbones(as_json: bool) -> None:
    """List the pre-trained transformers that can be fine-tuned.

    \b
    Example:
      pointsmith backbones
      pointsmith train --backbone point-mae --set backbone.weights=pretrain.pth
    """
    from ...core.config import choices

    rows: list[dict[str, Any]] = [
        {
            "kind": kind,
            "title": cls.title,
            "about": about(cls),
            "parameters": sum(parameter.numel() for parameter in cls().build("every-block").parameters()),
            "weights": _origin(cls),
            "homepage": cls.source.homepage,
            "settings": settings(cls),
        }
        for kind, cls in choices("backbone").items()
    ]
    if as_json:
        print_json(rows)
        return
    lines = [(row["kind"], f"{row['parameters']:,}", row["weights"], row["about"]) for row in rows]
    click.echo(table(("backbone", "parameters", "weights", "about"), lines))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with types and bounds of every setting.")
def datasets(as_json: bool) -> None:
    """List the kinds of data sets and their settings.

    \b
    Example:
      pointsmith datasets
      pointsmith train --data my_scans.zip --set data.test_share=0.3
    """
    from ...core.config import choices

    found = [{"kind": kind, "about": about(cls), "settings": settings(cls)} for kind, cls in choices("data").items()]
    if as_json:
        print_json(found)
        return
    for each in found:
        click.echo(f"{each['kind']}: {each['about']}")
        rows = [(f"  data.{one['name']}", _default(one), one["about"]) for one in each["settings"]]
        click.echo(table(("  setting", "default", "meaning"), rows) + "\n")


def about(cls: type[Config]) -> str:
    """Return the first paragraph of a config class's docstring as one line."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


def settings(cls: type[Config], prefix: str = "") -> list[dict[str, Any]]:
    """Return name, default, meaning and JSON schema of each setting of a config class, nested ones with dots."""
    from ...core.schema import Config

    schema: dict[str, Any] = cls.model_json_schema().get("properties", {})
    found: list[dict[str, Any]] = []
    for name, field in cls.model_fields.items():
        if name == "kind":
            continue
        if isinstance(field.default, Config):
            found += settings(type(field.default), f"{prefix}{name}.")
            continue
        required = field.is_required()
        found.append(
            {
                "name": prefix + name,
                "required": required,
                "default": None if required else field.default,
                "about": field.description or "",
                "schema": {key: value for key, value in schema[name].items() if key not in ("title", "description")},
            }
        )
    return found


def _default(setting: dict[str, Any]) -> str:
    if setting["required"]:
        return "(required)"
    return "–" if setting["default"] is None else str(setting["default"])


def _origin(cls: type[Config]) -> str:
    source = cls.source
    if source.asset:
        return "ships with Pointsmith"
    if source.repository:
        return f"Hub: {source.repository}"
    return "your file, or random"
