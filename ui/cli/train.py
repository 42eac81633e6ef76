"""`pointsmith train`: fine-tune in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import size
from .run_options import RunOptions, make_run, run_options
from .session import Foreground, check_free, default_folder, resumable_config

if TYPE_CHECKING:
    from ...core.config import RunConfig
    from ...core.events import Event


@click.command()
@run_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: ./runs/TIME-NAME]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end; progress goes to stderr.")
def train(out: Path | None, resume: bool, device: str, as_json: bool, **options: Any) -> None:
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
    here = Foreground("train", folder, device, as_json)
    events = _train(config, here)
    last, shown = events[-1], list[str]()
    said: dict[str, Any] = {"scores": [event.model_dump() for event in events if event.kind == "scores"]}
    if last.kind == "finished":
        adapter = folder / last.adapter
        said["adapter_path"] = str(adapter.absolute())
        shown.append(f"Adapter: {adapter} ({size(last.adapter_bytes)})")
    here.end(last, said, *shown)


def _train(config: RunConfig, here: Foreground) -> list[Event]:
    from ...core.training import train as run

    def make(stop: Callable[[], bool]) -> Iterator[Event]:
        return run(config, here.folder, device=here.device, stop=stop)

    return here.run("Run", make, config.to_yaml(), batch_size=config.batch_size)
