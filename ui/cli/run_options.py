"""From the options of `train` and `submit` to one RunConfig: a file or recipe, then shortcuts, then `--set`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from ...core.errors import UserError
from .names import known, unknown

if TYPE_CHECKING:
    from ...core.config import RunConfig

Callback = TypeVar("Callback", bound=Callable[..., Any])
Content = dict[str, Any]


@dataclass(frozen=True)
class RunOptions:
    """What was typed; None where an option was not given."""

    config: Path | None = None
    recipe: str | None = None
    backbone: str | None = None
    method: str | None = None
    data: str | None = None
    settings: tuple[str, ...] = ()
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int | None = None


def run_options(callback: Callback) -> Callback:
    """Give a click command the options that RunOptions holds."""
    options = (
        click.option("--config", type=click.Path(path_type=Path), help="YAML file of a run; see `pointsmith recipes`."),
        click.option("--recipe", metavar="NAME", help="Start from a recipe; see `pointsmith recipes`."),
        click.option("--backbone", metavar="KIND", help="See `pointsmith backbones`."),
        click.option("--method", metavar="KIND", help="See `pointsmith methods`."),
        click.option(
            "--data", metavar="KIND|PATH", help="A kind, a folder or .zip with a sub-folder per class, an .h5 or list."
        ),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting, e.g. optim.lr=0.001."),
        click.option("--epochs", type=int, help="Passes over the training clouds."),
        click.option("--batch-size", type=int, help="Clouds per step."),
        click.option("--lr", type=float, help="Peak learning rate (optim.lr)."),
        click.option("--seed", type=int, help="Seed of everything random."),
    )
    for option in reversed(options):
        callback = option(callback)
    return callback


def make_run(options: RunOptions, base: Path | None = None) -> RunConfig:
    """Return the run that the options describe, its paths absolute; `base` stands in where no file was named.

    UserError for an unknown name, key or value, before anything is read or written.
    """
    from ...core.config import override, parse_config, read_inherited

    if options.config and options.recipe:
        raise UserError("--config and --recipe are both given", remedy="Choose one of them")
    source = options.config or base
    content: Content = {}
    chosen = (options.recipe, source, options.backbone, options.method, options.data)
    name = options.recipe or (None if any(chosen) else "demo")  # nothing said at all: the quick look
    if name:
        from ...core.recipes import recipe

        source = recipe(name).path
    if source:
        content = read_inherited(source)
    for part in ("backbone", "method"):
        _choose_kind(content, part, getattr(options, part))
    if options.data:
        content["data"] = data_content(options.data, content.get("data"))
    shortcuts = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "optim.lr": options.lr,
        "seed": options.seed,
    }
    given = [f"{key}={value!r}" for key, value in shortcuts.items() if value is not None]
    content = override(content, [*options.settings, *given])
    _check_kind(content, "backbone")
    _check_kind(content, "method")
    _check_kind(content, "data")
    named = options.recipe or options.config or base
    return absolute(parse_config(content, source.name if source and named else "The run"))


def data_content(given: str, before: object = None) -> Content:
    """Return the `data` part for a kind's name or a path; settings of `before` stay where its kind is the same.

    An .h5 file becomes the training file of `h5`, a folder or .zip a `folder` or, where it holds images, `images`;
    so does a list of images; the folder of a benchmark becomes that benchmark. UserError when it is none of these.
    """
    from ...core.config import choices
    from ...core.data.kinds import data_kind

    kinds = choices("data")
    path = Path(given).expanduser()
    if given in kinds:
        fresh: Content = {"kind": given}
    elif kind := data_kind(path):
        fresh = {"kind": kind, "train" if kind == "h5" else "path": str(path)}
    elif path.exists():
        expected = "a folder, a .zip, an .h5 file or a list of images (.csv, .txt)"
        raise UserError("This file is no data set", got=given, expected=expected)
    elif path.suffix or "/" in given:
        raise UserError("The data set does not exist", got=given, remedy="Check the path")
    else:
        raise unknown(given, kinds, "data set, and there is no file or folder of that name")
    if not isinstance(before, dict):
        return fresh
    if fresh["kind"] == "folder" and getattr(kinds.get(str(before.get("kind"))), "answers", None) == "parts":
        fresh["kind"] = "parts"  # your own labelled points in the place of a benchmark's
    if before.get("kind") == fresh["kind"]:
        return {**before, **fresh}
    of_clouds = {kind for kind, cls in kinds.items() if getattr(cls, "modality", None) == "points"}
    if fresh["kind"] in ("folder", "h5", "parts") and before.get("kind") in of_clouds:
        # Your own clouds in the place of a benchmark's: what the recipe's model sees of a cloud stays.
        return {name: before[name] for name in ("preparation", "validation") if name in before} | fresh
    return fresh


def absolute(run: RunConfig) -> RunConfig:
    """Return the run with absolute paths: it may be resumed, or executed by a worker, from another folder."""
    from ...core.data.config import with_paths

    update: Content = {"data": with_paths(run.data, lambda path: path.expanduser().absolute())}
    weights = run.backbone.weights
    if weights not in ("pretrained", "random", "included"):
        update["backbone"] = run.backbone.model_copy(update={"weights": str(Path(weights).expanduser().absolute())})
    return run.model_copy(update=update)


def _choose_kind(content: Content, part: str, kind: str | None) -> None:
    before = content.get(part)
    if kind is not None and not (isinstance(before, dict) and before.get("kind") == kind):
        content[part] = {"kind": kind}


def _check_kind(content: Content, part: Literal["backbone", "method", "data"]) -> None:
    """Refuse an unknown kind with the nearest one; without a kind, core takes the usual."""
    from ...core.config import choices

    chosen = content.get(part)
    if isinstance(chosen, dict) and "kind" in chosen:
        known(str(chosen["kind"]), choices(part), part)
