"""`pointsmith backbones` and `pointsmith datasets`: what there is to choose from, with every setting."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from .output import print_json, size, table

if TYPE_CHECKING:
    from ...core.models.source import Source
    from ...core.schema import Config


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every setting.")
def backbones(as_json: bool) -> None:
    """List the pre-trained transformers that can be fine-tuned, and whether their weights are on this disk.

    \b
    Example:
      pointsmith backbones
      pointsmith fetch point-mae
      pointsmith train --backbone point-mae --set backbone.weights=pretrain.pth
    """
    from ...core.config import choices

    rows = [_entry(kind, cls) for kind, cls in choices("backbone").items()]
    if as_json:
        print_json(rows)
        return
    lines = [(row["kind"], f"{row['parameters']:,}", row["weights"], _where(row)) for row in rows]
    click.echo(table(("backbone", "parameters", "weights", "on this disk"), lines))


def _entry(kind: str, cls: type[Any]) -> dict[str, Any]:
    """Return what is known of one backbone and its file, without opening the file or making its weights."""
    from ...core.models.shapes_only import shapes_only
    from ...core.models.weight_files import address_of, find, place_of, published

    source = cls.source
    with shapes_only():
        parameters = sum(parameter.numel() for parameter in cls().build("every-block").parameters())
    found = find(kind, source) if published(source) else None
    return {
        "kind": kind,
        "title": cls.title,
        "about": about(cls),
        "parameters": parameters,
        "weights": _origin(source),
        **asdict(source),
        "address": address_of(source) or None,
        "fetchable": bool(source.repository or source.url),
        "present": found is not None,
        "path": str(found.path) if found else None,
        "bytes": found.path.stat().st_size if found else None,
        "held_to_sha256": found.sha256 if found else None,
        "place": str(place_of(kind, source)) if published(source) and not source.asset else None,
        "settings": settings(cls),
    }


def _where(row: dict[str, Any]) -> str:
    if row["present"]:
        return f"{size(row['bytes'])}, {_short(row['path'])}"
    if row["fetchable"]:
        return f"no: pointsmith fetch {row['kind']}"
    if row["place"] is None:
        return "–"
    place = Path(row["place"])
    return f"no: put {place.name} into {_short(str(place.parent))}"


def _short(path: str) -> str:
    home = str(Path.home())
    return "~" + path[len(home) :] if path.startswith(home + "/") else path


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


def _origin(source: Source) -> str:
    if source.asset:
        return "ships with Pointsmith"
    if source.repository:
        return f"Hub: {source.repository}"
    if source.url:
        return f"authors: {urlsplit(source.url).netloc}"
    return f"by hand: {urlsplit(source.homepage).netloc}" if source.homepage else "your file, or random"
