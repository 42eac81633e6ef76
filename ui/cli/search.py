"""`pointsmith search`: find what each block should have, and how much of it (NOAH), and write the run to train it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import percent
from .run_options import RunOptions, make_run, run_options
from .session import Foreground, check_free, default_folder, resumable_config

if TYPE_CHECKING:
    from ...core.events import Event
    from ...core.training.search import SearchConfig

_OF_SEARCH = ("max_parameters", "generations", "population", "parents", "supernet_epochs", "supernet_lr")


@click.command()
@run_options
@click.option("--max-parameters", type=int, help="Most parameters of a plan, head not counted.  [default: 640000]")
@click.option("--generations", type=int, help="Populations of plans, one after another.  [default: 15]")
@click.option("--population", type=int, help="Plans in each.  [default: 50]")
@click.option("--parents", type=int, help="Best plans so far, of which the next are made.  [default: 10]")
@click.option("--supernet-epochs", type=int, help="Epochs of the supernet.  [default: five times the run's]")
@click.option("--supernet-lr", type=float, help="Its peak learning rate.  [default: half the run's]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: ./runs/TIME-search-DATA]")
@click.option("--resume", is_flag=True, help="Go on with the search in --out.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end; progress goes to stderr.")
def search(out: Path | None, resume: bool, device: str, as_json: bool, **options: Any) -> None:
    """Search how wide an adapter, of what rank an update and how many prompts each block should have (NOAH).

    A supernet of the largest sizes (method.sizes) is trained, and plans are judged with its weights on the validation
    clouds; the test clouds are not looked at. The best plan is written as found.yaml, a run with the schedule given
    here, which trains it afresh. Ctrl-C loses no plan that was judged.

    \b
    Example:
      pointsmith search --data my_scans/ --epochs 20 --max-parameters 50000 --out runs/searched
      pointsmith train --config runs/searched/found.yaml
    """
    config = _config(options, resumable_config(out) if resume else None)
    folder = out or default_folder(f"search-{config.run.data.kind}")
    if not resume:
        check_free(folder)
    here = Foreground("search", folder, device, as_json)
    last = _search(config, here)[-1]
    said, shown = dict[str, Any](), list[str]()
    if last.kind == "searched":
        said["path"] = str((folder / last.file).absolute())
        shown = [f"{percent(one.accuracy):>8}  {one.parameters:>9,}  {' '.join(one.plan)}" for one in last.plans]
        shown.append(f"Train the best: pointsmith train --config {folder / last.file}")
    here.end(last, said, *shown)


def _config(options: dict[str, Any], base: Path | None) -> SearchConfig:
    """Return what the options describe, or the search of a folder; UserError for what does not fit."""
    from pydantic import ValidationError

    from ...core.schema import explain
    from ...core.training.search import SearchConfig, read_search

    if base:
        given = [name for name, value in options.items() if value not in (None, ())]
        if given:
            raise UserError(
                "--resume goes on with the settings of the folder",
                got=f"--{given[0].replace('_', '-')}",
                remedy="Leave it out, or search anew in another folder",
            )
        return read_search(base)
    chosen = {name: options.pop(name) for name in _OF_SEARCH}
    options["method"] = options["method"] or "noah"
    run = make_run(RunOptions(**options))
    try:
        return SearchConfig.model_validate({"run": run, **{k: v for k, v in chosen.items() if v is not None}})
    except ValidationError as error:
        raise explain(error, "The search") from error


def _search(config: SearchConfig, here: Foreground) -> list[Event]:
    from ...core.training.search import search as run

    def make(stop: Callable[[], bool]) -> Iterator[Event]:
        return run(config, here.folder, device=here.device, stop=stop)

    return here.run("Search", make, config.to_yaml(), batch_size=config.run.batch_size)
