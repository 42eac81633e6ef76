"""`pointsmith pretrain`: make a backbone of your own from unlabelled clouds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .session import Foreground, check_free, default_folder, resumable_config

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
def pretrain(out: Path | None, resume: bool, device: str, as_json: bool, **options: Any) -> None:
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
    here = Foreground("pretrain", folder, device, as_json)
    last = _pretrain(config, here)[-1]
    said, shown = dict[str, Any](), list[str]()
    if last.kind == "pretrained":
        made = folder / last.file
        said["path"] = str(made.absolute())
        shown = [f"Backbone: {made}", f"Use it: pointsmith train {' '.join(_sizes(config, made))}"]
    here.end(last, said, *shown)


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


def _pretrain(config: PretrainConfig, here: Foreground) -> list[Event]:
    import yaml

    from ...core.training.pretrain import pretrain as run

    def make(stop: Callable[[], bool]) -> Iterator[Event]:
        return run(config, here.folder, device=here.device, stop=stop)

    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    return here.run("Pre-training", make, text, batch_size=config.batch_size, epochs=config.epochs)


def _sizes(config: PretrainConfig, file: Path) -> list[str]:
    """Return the options of `train` that describe the backbone just made."""
    content = config.backbone.model_dump(mode="json", exclude_defaults=True, exclude={"weights", "kind", "drop_path"})
    settings = {"weights": str(file), **content}
    return [
        "--backbone own",
        *(f"--set backbone.{key}={str(value).replace(' ', '')}" for key, value in settings.items()),
    ]
