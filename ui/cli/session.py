"""Training in the foreground: a folder that is whole or absent, and a Ctrl-C that loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import print_json

if TYPE_CHECKING:
    from ...core.events import Event
    from .narrator import Narrator

CONFIG_NAME = "run.yaml"
EVENTS_NAME = "events.jsonl"


class Stop:
    """Whether the user asked to stop. A second signal, or one where nothing could be saved, ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self.training = False

    def __call__(self) -> bool:
        return self.asked

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.training:
            raise KeyboardInterrupt
        self.asked = True
        # Not print: a signal may arrive inside it, and the stream refuses to be entered twice.
        os.write(2, b"\nStopping after this step; once more to stop without saving.\n")


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Yield a Stop that Ctrl-C and SIGTERM set while the block runs."""
    stop = Stop()
    before = {number: signal.signal(number, stop.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def default_folder(name: str) -> Path:
    """Return ./runs/<time>-<name>, a folder that does not exist yet."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    folder, number = Path("runs") / stem, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{stem}-{number}"
    return folder


def resumable_config(folder: Path | None) -> Path:
    """Return the configuration of the run to resume; UserError when there is none."""
    if folder is None:
        raise UserError("--resume needs the folder of the run", remedy="Name it with --out DIR")
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise UserError("There is nothing to resume", got=str(folder), expected=f"a run's folder with {CONFIG_NAME}")
    return path


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something, or that cannot be made, before anything is computed."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            "The output folder is not empty", got=str(folder), remedy="Choose another with --out, or add --resume"
        )
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UserError("The output folder cannot be made: a file is in the way", got=str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError("The output folder cannot be made: no permission", got=str(place))


@contextmanager
def whole_or_absent(folder: Path) -> Iterator[None]:
    """Take the folder, and those above that are made on the way, away again when the block fails with nothing saved."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    was_empty = folder.exists() and not any(folder.iterdir())
    try:
        yield
    except BaseException:
        if (made or was_empty) and not (folder / "checkpoint" / "latest.json").is_file():
            for entry in folder.iterdir() if folder.is_dir() else ():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            for place in made:
                if place.is_dir() and not any(place.iterdir()):
                    place.rmdir()
        raise


def follow(
    make: Callable[[Callable[[], bool]], Iterator[Event]], folder: Path, config: str, narrator: Narrator
) -> list[Event]:
    """Run the events that `make(stop)` yields to their end, telling each; return those that are worth keeping.

    `config` is written to the folder once data and model are there. When the user stops it before a checkpoint,
    or without one, KeyboardInterrupt.
    """
    kept: list[Event] = []
    early: list[Event] = []
    try:
        with whole_or_absent(folder), stoppable() as stop:
            for event in make(stop):
                if event.kind == "stage":
                    stop.training = event.stage == "train"
                    if stop.training and not (folder / CONFIG_NAME).is_file():
                        folder.mkdir(parents=True, exist_ok=True)
                        (folder / CONFIG_NAME).write_text(config, encoding="utf-8")
                _note(event, folder, early)
                narrator.tell(event)
                if event.kind in ("scores", "finished", "pretrained", "searched", "interrupted"):
                    kept.append(event)
    finally:
        narrator.close()
    return kept


def _note(event: Event, folder: Path, early: list[Event]) -> None:
    """Add an event to the folder's file of them, from which a card is made; `early` are those before the folder is."""
    if event.kind in ("stage", "note", "checkpoint"):
        return
    early.append(event)
    if folder.is_dir():
        with (folder / EVENTS_NAME).open("a", encoding="utf-8") as file:
            file.writelines(f"{one.model_dump_json()}\n" for one in early)
        early.clear()


def say_how_to_resume(verb: str, folder: Path) -> None:
    """Tell on stderr that the run was stopped and how it goes on."""
    if (folder / "checkpoint" / "latest.json").is_file():
        click.echo(f"Stopped. Resume with: pointsmith {verb} --out {folder} --resume", err=True)
    else:
        click.echo("Stopped before anything was saved.", err=True)


@dataclass(frozen=True)
class Foreground:
    """One command that trains in this process: its verb, where it writes, on what, and who reads what it prints."""

    verb: str
    folder: Path
    device: str
    as_json: bool

    def run(
        self,
        title: str,
        make: Callable[[Callable[[], bool]], Iterator[Event]],
        config: str,
        *,
        batch_size: int,
        epochs: int = 0,
    ) -> list[Event]:
        """Return what is worth keeping of the events of `make(stop)`; KeyboardInterrupt as `follow`.

        `title` announces the folder. UserError where there is no memory.
        """
        import torch

        from ...core.training.device import pick_device
        from .narrator import Narrator

        pick_device(self.device)
        narrator = Narrator(sys.stderr if self.as_json else sys.stdout, epochs=epochs)
        narrator.line(f"{title}: {self.folder}")
        try:
            events = follow(make, self.folder, config, narrator)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise UserError("There is not enough memory", got=batch_size, remedy="Lower --batch-size") from error
        except KeyboardInterrupt:
            say_how_to_resume(self.verb, self.folder)
            raise
        if events[-1].kind == "interrupted":
            say_how_to_resume(self.verb, self.folder)
        return events

    def end(self, last: Event, said: dict[str, Any], *shown: str) -> None:
        """Print the last event with `said` as JSON, or what is `shown` to a person; exit after an interruption."""
        if self.as_json:
            print_json({**last.model_dump(), **said, "folder": str(self.folder.absolute())})
        else:
            for line in shown:
                click.echo(line)
        if last.kind == "interrupted":
            raise click.exceptions.Exit(130)
