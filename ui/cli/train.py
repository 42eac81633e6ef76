"""`pointsmith train`: fine-tune in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import print_json, size
from .run_options import RunOptions, make_run, run_options
from .session import check_free, default_folder, follow, resumable_config, say_how_to_resume

if TYPE_CHECKING:
    from ...core.config import RunConfig
    from ...core.events import Event


@click.command()
@run_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: ./runs/TIME-NAME]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end; progress goes to stderr.")
@click.pass_context
def train(ctx: click.Context, out: Path | None, resume: bool, device: str, as_json: bool, **options: Any) -> None:
    """Fine-tune a backbone on labelled clouds and write an adapter.

    Ctrl-C writes a checkpoint and says how to resume.

    \b
    Example:
      pointsmith train --method dapt --data my_scans/ --epochs 20 --out runs/scans
      pointsmith train --data main_split/train.h5 --set data.test=main_split/test.h5
    """
    base = resumable_config(out) if resume else None
    chosen = RunOptions(**options)
    config = make_run(chosen, base)
    folder = out or default_folder(f"{config.method.kind}-{config.data.kind}")
    if not resume:
        check_free(folder)
    try:
        events = _train(config, folder, device, as_json)
    except KeyboardInterrupt:
        say_how_to_resume("train", folder)
        ctx.exit(130)
    last = events[-1]
    if last.kind == "interrupted":
        say_how_to_resume("train", folder)
    if as_json:
        scores = [event.model_dump() for event in events if event.kind == "scores"]
        print_json({**last.model_dump(), "scores": scores, **_places(last, folder)})
    elif last.kind == "finished":
        adapter = folder / last.adapter
        click.echo(f"Adapter: {adapter} ({size(last.adapter_bytes)})")
    if last.kind == "interrupted":
        ctx.exit(130)


def _train(config: RunConfig, folder: Path, device: str, as_json: bool) -> list[Event]:
    import torch

    from ...core.training import train as run
    from ...core.training.device import pick_device
    from .narrator import Narrator

    pick_device(device)
    narrator = Narrator(sys.stderr if as_json else sys.stdout)
    narrator.line(f"Run: {folder}")
    try:
        return follow(lambda stop: run(config, folder, device=device, stop=stop), folder, config.to_yaml(), narrator)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(
            "There is not enough memory for this run", got=config.batch_size, remedy="Lower --batch-size"
        ) from error


def _places(last: Event, folder: Path) -> dict[str, str]:
    places = {"folder": str(folder.absolute())}
    if last.kind == "finished":
        places["adapter_path"] = str((folder / last.adapter).absolute())
    return places
