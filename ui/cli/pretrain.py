"""`pointsmith pretrain`: make a backbone of your own from unlabelled clouds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import print_json
from .session import check_free, default_folder, follow, resumable_config, say_how_to_resume

if TYPE_CHECKING:
    from ...core.events import Event
    from ...core.training.pretrain import PretrainConfig


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="YAML file of a pre-training.")
@click.option("--data", metavar="generated|FOLDER", help="The generator's shapes, or a folder of meshes and clouds.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting, e.g. backbone.dim=192.")
@click.option("--epochs", type=int, help="Passes over the clouds.")
@click.option("--batch-size", type=int, help="Clouds per step.")
@click.option("--lr", type=float, help="Peak learning rate (optim.lr).")
@click.option("--seed", type=int, help="Seed of everything random.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: ./runs/TIME-pretrain]")
@click.option("--resume", is_flag=True, help="Go on with the pre-training in --out.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end; progress goes to stderr.")
@click.pass_context
def pretrain(ctx: click.Context, out: Path | None, resume: bool, device: str, as_json: bool, **options: Any) -> None:
    """Pre-train a transformer by masked autoencoding; no labels are needed.

    Ctrl-C keeps the last finished epoch and says how to resume.

    \b
    Example:
      pointsmith pretrain --data my_unlabelled_scans/ --set backbone.dim=192 --set backbone.heads=3 --out runs/mine
      pointsmith train --backbone own --set backbone.weights=runs/mine/backbone.safetensors --set backbone.dim=192 ...
    """
    config = _config(options, resumable_config(out) if resume else None)
    folder = out or default_folder("pretrain")
    if not resume:
        check_free(folder)
    try:
        events = _pretrain(config, folder, device, as_json)
    except KeyboardInterrupt:
        say_how_to_resume("pretrain", folder)
        ctx.exit(130)
    last = events[-1]
    if last.kind == "interrupted":
        say_how_to_resume("pretrain", folder)
    if as_json:
        places = {"folder": str(folder.absolute())}
        if last.kind == "pretrained":
            places["path"] = str((folder / last.file).absolute())
        print_json({**last.model_dump(), **places})
    elif last.kind == "pretrained":
        click.echo(f"Backbone: {folder / last.file}")
        click.echo(f"Use it: pointsmith train {' '.join(_sizes(config, folder / last.file))}")
    if last.kind == "interrupted":
        ctx.exit(130)


def _config(options: dict[str, Any], base: Path | None) -> PretrainConfig:
    """Return what the options describe, its paths absolute; UserError for what does not fit."""
    from pydantic import ValidationError

    from ...core.config import override, read_yaml
    from ...core.schema import explain
    from ...core.training.pretrain import PretrainConfig

    source = options["config"] or base
    content = read_yaml(source) if source else {}
    if options["data"]:
        content["data"] = _data(options["data"], content.get("data"))
    shortcuts = {"epochs": "epochs", "batch_size": "batch_size", "lr": "optim.lr", "seed": "seed"}
    given = [f"{key}={options[name]!r}" for name, key in shortcuts.items() if options[name] is not None]
    content = override(content, [*options["settings"], *given])
    if isinstance(content.get("data"), dict):
        content["data"].setdefault("kind", "generated")
    try:
        config = PretrainConfig.model_validate(content)
    except ValidationError as error:
        raise explain(error, source.name if source else "The pre-training") from error
    paths = {name: value.expanduser().absolute() for name, value in config.data if isinstance(value, Path)}
    return config.model_copy(update={"data": config.data.model_copy(update=paths)}) if paths else config


def _data(given: str, before: object) -> dict[str, Any]:
    fresh: dict[str, Any] = {"kind": "generated"} if given == "generated" else {"kind": "folder", "path": given}
    if fresh["kind"] == "folder" and not Path(given).expanduser().is_dir():
        raise UserError("There are no clouds to pre-train on", got=given, expected="`generated` or an existing folder")
    return {**before, **fresh} if isinstance(before, dict) and before.get("kind") == fresh["kind"] else fresh


def _pretrain(config: PretrainConfig, folder: Path, device: str, as_json: bool) -> list[Event]:
    import torch
    import yaml

    from ...core.training.device import pick_device
    from ...core.training.pretrain import pretrain as run
    from .narrator import Narrator

    pick_device(device)
    narrator = Narrator(sys.stderr if as_json else sys.stdout, epochs=config.epochs)
    narrator.line(f"Pre-training: {folder}")
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    try:
        return follow(lambda stop: run(config, folder, device=device, stop=stop), folder, text, narrator)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError("There is not enough memory", got=config.batch_size, remedy="Lower --batch-size") from error


def _sizes(config: PretrainConfig, file: Path) -> list[str]:
    """Return the options of `train` that describe the backbone just made."""
    content = config.backbone.model_dump(mode="json", exclude_defaults=True, exclude={"weights", "kind", "drop_path"})
    settings = {"weights": str(file), **content}
    return [
        "--backbone own",
        *(f"--set backbone.{key}={str(value).replace(' ', '')}" for key, value in settings.items()),
    ]
