"""`pointsmith methods`: every method and published preset with what it trains on each backbone, counted exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import print_json, table

if TYPE_CHECKING:
    from ...core.peft.method import MethodConfig
    from ...core.schema import Config


@dataclass(frozen=True)
class Entry:
    """A method with its defaults (`preset` None) or as it was published, and the parts its head joins.

    `recipe` trains the preset; `preset` is also what `pointsmith import` calls the published file.
    """

    method: MethodConfig
    preset: str | None
    recipe: str | None
    parts: tuple[Any, ...]
    classes: int


@click.command()
@click.option("--classes", default=15, show_default=True, type=click.IntRange(min=2), help="Classes of the head.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every setting.")
def methods(classes: int, as_json: bool) -> None:
    """List the methods and their published presets with the exact number of parameters that train.

    The numbers include the head. Presets are counted for the classes of their benchmark.

    \b
    Example:
      pointsmith methods --classes 40
      pointsmith train --method dapt --set method.rank=32
    """
    from ...core.config import choices

    listed = entries(classes)
    counts = {kind: count(cls, listed) for kind, cls in choices("backbone").items()}
    rows = [_row(entry, {kind: found[i] for kind, found in counts.items()}) for i, entry in enumerate(listed)]
    if as_json:
        print_json(rows)
        return
    lines = [
        (row["method"], row["preset"] or "", str(row["classes"]), *(_shown(row["trainable"].get(k)) for k in counts))
        for row in rows
    ]
    click.echo(table(("method", "preset", "classes", *counts), lines))
    click.echo("\nTrainable parameters on each backbone, head included.")


def entries(classes: int) -> list[Entry]:
    """Return every method with its defaults, each followed by its published presets."""
    from ...core.config import choices
    from ...core.importing import importable
    from ...core.models.backbones import PointMAEConfig
    from ...core.recipes import recipes

    shape = PointMAEConfig().shape
    runs = {name: recipe.config() for name, recipe in recipes().items()}
    found: list[Entry] = []
    for kind, cls in choices("method").items():
        method: Any = cls()
        found.append(Entry(method, None, None, method.head_parts(shape), classes))
        for name, preset in importable().items():
            if preset.method.kind != kind or kind == "full":
                continue
            parts = preset.parts or preset.method.head_parts(shape)
            bench = preset.benchmark
            same = (
                name
                for name, run in runs.items()
                if run.method == preset.method
                and (run.head.parts or run.method.head_parts(shape)) == parts
                and (run.data.preparation.points, run.data.preparation.normalize) == (bench.points, bench.normalize)
            )
            found.append(Entry(preset.method, name, next(same, None), parts, len(bench.classes)))
    return found


def count(backbone: type[Config], listed: list[Entry]) -> list[tuple[int, int] | None]:
    """Return (trainable, total) parameters of each entry on a backbone; None where the two do not go together."""
    from ...core.building import measure
    from ...core.config import RunConfig
    from ...core.models.head import HeadConfig

    found: list[tuple[int, int] | None] = []
    for entry in listed:
        run = RunConfig().model_copy(
            update={"backbone": backbone(), "method": entry.method, "head": HeadConfig(parts=entry.parts)}
        )
        try:
            sizes = measure(run, entry.classes)
        except UserError:
            found.append(None)
            continue
        found.append((sizes.trainable, sizes.total))
    return found


def _row(entry: Entry, counts: dict[str, tuple[int, int] | None]) -> dict[str, Any]:
    from .lists import about, settings

    method: Any = entry.method
    cls = type(method)
    return {
        "method": method.kind,
        "preset": entry.preset,
        "recipe": entry.recipe,
        "title": cls.title,
        "about": about(cls),
        "source": cls.source,
        "classes": entry.classes,
        "trainable": {kind: found[0] for kind, found in counts.items() if found},
        "total": {kind: found[1] for kind, found in counts.items() if found},
        "chosen": method.model_dump(mode="json", exclude={"kind"}),
        "head_parts": list(entry.parts),
        "settings": settings(cls),
    }


def _shown(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"
