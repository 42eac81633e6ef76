"""A trainer process like the real one, whose training is counting: same harness, events, checkpoints and exit codes.

Configuration: `steps`, `seconds` a step, `every` steps a checkpoint, and `die`, a name of an ending it shall have.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pointsmith.core.errors import UserError
from pointsmith.core.events import Checkpoint, Epoch, Event, Finished, Interrupted, Plan, Stage, Step
from pointsmith.worker.run import read_json, write_json
from pointsmith.worker.trainer import main


def count(config: dict[str, Any], folder: Path, device: str, stop: Callable[[], bool]) -> Iterator[Event]:
    """Count to `steps`, one line of `done.txt` a step, so that a test sees what was really done and by whom."""
    steps, every = int(config["steps"]), int(config.get("every", 1))
    yield Stage(stage="data", message="counting")
    _die(config.get("die"))
    yield Plan(
        trainable=1, total=2, adapter_bytes=4, classes=("a", "b"), train_clouds=steps, validation_clouds=0,
        test_clouds=0, epochs=1, steps_per_epoch=steps, device="cpu", precision="float32",
    )  # fmt: skip
    saved = folder / "checkpoint.json"
    step = (read_json(saved) or {"step": 0})["step"]
    while step < steps:
        if stop():
            write_json(saved, {"step": step})
            yield Checkpoint(step=step, epoch=0)
            yield Interrupted(step=step, epoch=0)
            return
        time.sleep(config["seconds"])
        step += 1
        with (folder / "done.txt").open("a") as file:
            line = {"step": step, "pid": os.getpid(), "time": time.time(), "token": int(sys.argv[2])}
            file.write(json.dumps(line) + "\n")
        yield Step(
            step=step, epoch=1, loss=1 / step, lr=1.0, grad_norm=1.0, clouds_per_second=1.0, eta_seconds=steps - step
        )
        if step % every == 0:
            write_json(saved, {"step": step})
            yield Checkpoint(step=step, epoch=0)
    yield Epoch(epoch=1, step=step, train_loss=0.0, train_accuracy=1.0, lr=1.0, seconds=1.0)
    yield Finished(
        best_epoch=1, epochs=1, validation_accuracy=None, test_accuracy=1.0, selected_on="last", adapter="adapter",
        adapter_bytes=4, trainable=1, seconds=1.0,
    )  # fmt: skip


def _die(how: str | None) -> None:
    if how == "user":
        raise UserError("The folder has no clouds", got="nowhere")
    if how == "bug":
        raise ValueError("seven is not eight")
    if how == "memory":
        raise MemoryError("no more")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        time.sleep(600)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], count))
