"""The trainer process: `python -m pointsmith.worker.trainer FOLDER TOKEN DEVICE` runs one attempt, told to a file.

It knows nothing of Redis or Celery. Exit codes: 0 done (`result.json`), 2 the user's error and 1 any other (both with
`error.json`), 64 interrupted and resumable, 75 the folder is held by another trainer. On SIGTERM it stops after the
step at hand and writes a checkpoint. When its standard input closes, its supervisor is gone, and when nothing comes
from there for POINTSMITH_SILENCE seconds it is frozen: then it does the same, and ends at once should that take too
long, so that no trainer outlives its owner's lease.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import UserError
from .failures import kind_of
from .run import last_lines, read_json, write_json
from .scrub import guard_output, scrubber
from .timeline import events_file

if TYPE_CHECKING:
    from ..core.events import Event

DONE, BUG, USER, INTERRUPTED, HELD = 0, 1, 2, 64, 75
LOCK_PATIENCE = 20.0
ORPHAN_GRACE = 3.0
SILENCE = "POINTSMITH_SILENCE"
"""The environment variable that says how long a living supervisor is silent at most; without it that is no sign."""

Learn = Callable[[dict[str, Any], Path, str, Callable[[], bool]], "Iterator[Event]"]
"""(config, folder, device, stop) -> events."""


def learn(config: dict[str, Any], folder: Path, device: str, stop: Callable[[], bool]) -> Iterator[Event]:
    """The real thing: PyTorch is imported only now, when signals and the folder's lock are in place."""
    from ..core.config import parse_config
    from ..core.training import train

    yield from train(parse_config(config, "The run's configuration"), folder, device=device, stop=stop)


class Stop:
    """The wish to end, from a signal or from the closed standard input, and how far the run is."""

    def __init__(self) -> None:
        self.wished = False
        self.busy = False
        """A training step or a checkpoint may be under way; before that there is nothing to save."""
        self.stage = ""
        """What the run last said to be at."""

    def __call__(self) -> bool:
        return self.wished

    def wish(self, *_: object) -> None:
        """Ask for the end; as a signal handler it may interrupt anything, so it only sets a flag or leaves."""
        self.wished = True
        if not self.busy:
            os._exit(INTERRUPTED)

    def watch(self) -> None:
        """Listen for SIGTERM and, in the background, for the end of standard input."""
        signal.signal(signal.SIGTERM, self.wish)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._wait_for_orphanhood, name="orphan-watch", daemon=True).start()

    def _wait_for_orphanhood(self) -> None:
        silence = float(os.environ.get(SILENCE) or 0) or None
        # os.read, not sys.stdin: its buffer's lock would abort the interpreter's exit.
        while select.select([0], [], [], silence)[0] and os.read(0, 4096):
            pass
        self.wish()
        time.sleep(ORPHAN_GRACE)
        os._exit(INTERRUPTED)


def main(arguments: list[str], learn: Learn = learn) -> int:
    """Run one attempt; returns the exit code."""
    folder, token, device = Path(arguments[0]), int(arguments[1]), arguments[2]
    faulthandler.enable()
    guard_output()
    stop = Stop()
    stop.watch()
    lock = take_folder(folder)
    if lock is None:
        print("Another trainer still holds this run's folder", file=sys.stderr)
        return HELD
    try:
        return _attempt(folder, token, device, stop, learn)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        _write_error(folder, error, stop.stage)
        return USER
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        _write_error(folder, error, stop.stage)
        return BUG
    finally:
        os.close(lock)


def take_folder(folder: Path) -> int | None:
    """Lock the run's folder until this process ends; None when another trainer does not let go of it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                return None
            time.sleep(0.05)
        else:
            return lock


def _attempt(folder: Path, token: int, device: str, stop: Stop, learn: Learn) -> int:
    record = read_json(folder / "run.json")
    if record is None or not isinstance(record.get("config"), dict):
        raise UserError("The run's file is missing or damaged", got=str(folder / "run.json"))
    last: Event | None = None
    scrub = scrubber()
    # Unbuffered: a line is with the kernel, and so survives a kill, before the next step begins.
    with events_file(folder, token).open("ab", buffering=0) as file:
        for event in learn(record["config"], folder, device, stop):
            stop.busy = True
            stop.stage = event.stage if event.kind == "stage" else stop.stage
            file.write(scrub(event.model_dump_json()).encode() + b"\n")
            line = say(event)
            if line:
                print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
            last = event
    if last is not None and last.kind == "finished":
        write_json(folder / "result.json", last.model_dump(mode="json"))
        return DONE
    if last is not None and last.kind == "interrupted":
        return INTERRUPTED
    raise RuntimeError(f"training ended with {last!r} instead of Finished or Interrupted")


def say(event: Event) -> str:
    """An event as a line of the log; '' for those that only the curves need."""
    if event.kind == "stage":
        if event.done is not None and event.done != event.total:
            return ""  # of a download only its end
        return f"{event.stage}: {event.message}" if event.message else event.stage
    if event.kind == "note":
        return f"{event.level}: {event.message}" if event.level == "warning" else event.message
    if event.kind == "plan":
        return (
            f"{event.trainable:,} of {event.total:,} parameters to train on {event.train_clouds} {event.noun}, "
            f"{event.epochs} epochs of {event.steps_per_epoch} steps"
        )
    if event.kind == "epoch":
        parts = [f"epoch {event.epoch}: loss {event.train_loss:.4f}, {event.metric} {event.train_accuracy:.3f}"]
        if event.validation_accuracy is not None:
            parts.append(f"validation {event.validation_accuracy:.3f}")
        return ", ".join(parts) + f" ({event.seconds:.1f} s)"
    if event.kind == "scores":
        return f"{event.split}: {event.metric} {event.accuracy:.4f}, mean over classes {event.mean_class_accuracy:.4f}"
    if event.kind == "interrupted":
        return f"interrupted after step {event.step}"
    return "finished" if event.kind == "finished" else ""


def _write_error(folder: Path, error: Exception, stage: str) -> None:
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    message, kind = scrubber()(message), kind_of(error, stage)
    try:
        write_json(folder / "error.json", {"kind": kind, "message": message, "log": last_lines(folder / "log.txt", 40)})
    except OSError as trouble:  # a full disk, most likely; the supervisor still has the exit code and the log
        print(f"error.json could not be written: {trouble}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
