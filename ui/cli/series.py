"""Running several runs one after another in the foreground; what is finished is not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from ...core.errors import UserError
from .output import percent
from .session import CONFIG_NAME, follow

if TYPE_CHECKING:
    from ...core.config import RunConfig
    from ...core.schema import Config
    from ...core.training.series import MemberResult


def run_series(
    run: RunConfig,
    members: dict[str, RunConfig],
    folder: Path,
    device: str,
    stream: TextIO,
    report: Callable[[list[MemberResult]], Config],
) -> list[MemberResult] | None:
    """Run what is not finished of `members`, each in a folder of its name; return all results, None when stopped.

    `run` is what they have in common and is kept as run.yaml, so that --resume finds it; the report so far is written
    after every member.
    """
    from ...core.durable import write_synced
    from ...core.training.series import REPORT_NAME, finished_member

    done: list[MemberResult] = []
    for number, (name, member) in enumerate(members.items(), start=1):
        found = finished_member(member, folder, name)
        if found is None:
            click.echo(f"{name} ({number} of {len(members)})", file=stream)
            with _begun(folder, run, report(done), first=not done):
                found = run_member(member, folder, name, device, stream)
        else:
            click.echo(f"{name} ({number} of {len(members)}) is finished: {percent(found.test_accuracy)}", file=stream)
        if found is None:
            return None
        done.append(found)
        write_synced(folder / REPORT_NAME, report(done).model_dump_json(indent=2).encode())
    return done


@contextmanager
def _begun(folder: Path, run: RunConfig, report: Config, *, first: bool) -> Iterator[None]:
    """Write what a series resumes from; take it away again where its very first run fails with nothing saved."""
    from ...core.durable import write_synced
    from ...core.training.series import REPORT_NAME

    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_text(run.to_yaml(), encoding="utf-8")
    write_synced(folder / REPORT_NAME, report.model_dump_json(indent=2).encode())
    try:
        yield
    except UserError:
        if first and {each.name for each in folder.iterdir()} == {CONFIG_NAME, REPORT_NAME}:
            for name in (CONFIG_NAME, REPORT_NAME):
                (folder / name).unlink()
            for place in made:
                place.rmdir()
        raise


def run_member(run: RunConfig, folder: Path, name: str, device: str, stream: TextIO) -> MemberResult | None:
    """Run one member in `folder`/`name` and keep its result; None when it was stopped."""
    from ...core.adapters import read_adapter_config
    from ...core.training import train
    from ...core.training.series import keep_member
    from .narrator import Narrator

    place = folder / name
    events = follow(lambda stop: train(run, place, device=device, stop=stop), place, run.to_yaml(), Narrator(stream))
    last = events[-1]
    if last.kind != "finished":
        return None
    return keep_member(run, folder, name, last, read_adapter_config(place / last.adapter).classes)
