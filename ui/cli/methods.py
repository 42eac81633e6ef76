"""`pointsmith methods`: what every method trains on each backbone, and the published configurations beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import print_json, table

if TYPE_CHECKING:
    from ...core.building import Sizes
    from ...core.presets import Preset


@click.command()
@click.option("--classes", default=15, show_default=True, type=click.IntRange(min=2), help="Classes of the head.")
@click.option("--flops", is_flag=True, help="Also count multiply-adds on Point-MAE, one cloud of 2,048 points.")
@click.option("--markdown", is_flag=True, help="Print the tables of the README.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every setting.")
def methods(classes: int, flops: bool, markdown: bool, as_json: bool) -> None:
    """List the methods with the exact number of parameters that train on each backbone, and the published presets.

    The numbers include the head, but for those of image backbones, as published. --flops counts multiply-adds outside
    attention, as the papers do: as they write the model, and as it is computed here.

    \b
    Example:
      pointsmith methods --classes 40
      pointsmith train --method dapt --set method.rank=32
    """
    from ...core.presets import presets

    rows = counted(classes)
    if flops:
        _count_flops(rows, classes)
    published = [_preset(one) for one in presets()]
    if as_json:
        print_json({"methods": rows, "presets": published})
    elif markdown:
        click.echo(markdown_tables(rows, published))
    else:
        click.echo(_plain(rows, flops))
        lines = [(one["preset"], one["backbone"], f"{one['trainable']:,}", one["printed"]) for one in published]
        click.echo("\n" + table(("published preset", "backbone", "trainable", "printed"), lines))


def counted(classes: int) -> list[dict[str, Any]]:
    """Return a row for each method: what it is, its settings, and what it trains on each backbone or why it cannot."""
    from ...core.building import measure_methods
    from ...core.config import choices
    from .lists import about, settings

    made = [cls() for cls in choices("method").values()]
    columns = {kind: measure_methods(cls(), made, classes) for kind, cls in choices("backbone").items()}  # type: ignore[arg-type]
    modality = {kind: cls.modality for kind, cls in choices("backbone").items()}  # type: ignore[attr-defined]
    rows: list[dict[str, Any]] = []
    for i, (kind, cls) in enumerate(choices("method").items()):
        sizes = {backbone: column[i] for backbone, column in columns.items()}
        fits = {name: size for name, size in sizes.items() if not isinstance(size, UserError)}
        rows.append(
            {
                "method": kind,
                "title": cls.title,  # type: ignore[attr-defined]
                "about": about(cls),
                "source": cls.source,  # type: ignore[attr-defined]
                "classes": classes,
                "trainable": {name: published_way(modality[name], size) for name, size in fits.items()},
                "with_head": {name: size.trainable for name, size in fits.items()},
                "total": {name: size.total for name, size in fits.items()},
                "adapter_bytes": {name: size.adapter_bytes for name, size in fits.items()},
                "refused": {name: str(size) for name, size in sizes.items() if isinstance(size, UserError)},
                "settings": settings(cls),
            }
        )
    return rows


def published_way(modality: str, sizes: Sizes) -> int:
    """Return the number that publications print: with the head in 3D, without it on images."""
    return sizes.trainable - sizes.head if modality == "images" else sizes.trainable


def _preset(one: Preset) -> dict[str, Any]:
    from ...core.recipes import recipes

    return {
        "preset": one.name,
        "backbone": one.backbone,
        "method": one.method["kind"],
        "chosen": one.method,
        "classes": one.classes,
        "head_parts": one.parts,
        "with_head": one.with_head,
        "trainable": one.counted(),
        "published": one.count,
        "printed": one.printed,
        "source": one.source,
        "recipe": one.name if one.name in recipes() else None,
    }


def _count_flops(rows: list[dict[str, Any]], classes: int) -> None:
    """Add `flops` to every row: of its method with its defaults on Point-MAE, for a cloud of 2,048 points."""
    from ...core.config import parse_config
    from ...core.flops import count_flops

    trunk = None
    for row in rows:
        run = parse_config(
            {
                "backbone": {"kind": "point-mae", "groups": 128},
                "method": {"kind": row["method"]},
                "data": {"preparation": {"points": 2048}},
            }
        )
        trunk = trunk or run.backbone.build("every-block")
        row["flops"] = count_flops(run, classes, trunk=trunk).__dict__


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return {heading: backbones}, those together on which every method trains the same number."""
    names = list(dict.fromkeys(name for row in rows for name in (*row["trainable"], *row["refused"])))
    same: dict[tuple[Any, ...], list[str]] = {}
    for name in names:
        same.setdefault(tuple(row["trainable"].get(name) for row in rows), []).append(name)
    return {", ".join(found): found for found in same.values()}


def _number(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def _giga(count: int) -> str:
    return f"{count / 1e9:.2f} G"


def _plain(rows: list[dict[str, Any]], flops: bool) -> str:
    columns = _columns(rows)
    lines = [(row["method"], *(_number(row["trainable"].get(found[0])) for found in columns.values())) for row in rows]
    text = table(("method", *columns), lines)
    text += "\n\nTrainable parameters, head included but for images; –: the two do not go together."
    if flops:
        counts = [(row["method"], *(_giga(row["flops"][key]) for key in ("published", "computed"))) for row in rows]
        text += "\n\n" + table(("multiply-adds on point-mae", "as published", "as computed"), counts)
    return text


def markdown_tables(rows: list[dict[str, Any]], published: list[dict[str, Any]]) -> str:
    """Return the README's two tables: methods by backbones, and the published configurations."""
    columns = _columns(rows)
    lines = ["| method | " + " | ".join(columns) + " |", "|---" + "|---:" * len(columns) + "|"]
    for row in rows:
        cells = [_number(row["trainable"].get(found[0])) for found in columns.values()]
        lines.append(f"| `{row['method']}` | " + " | ".join(cells) + " |")
    lines += ["", "| published configuration | backbone | here | printed | in |", "|---|---|---:|---:|---|"]
    lines += [
        f"| {one['preset']} | {one['backbone']} | {one['trainable']:,} | {one['printed']} | {one['source']} |"
        for one in published
    ]
    return "\n".join(lines)
