"""The real trainer, with a witness: every event's moment, process and token is noted in the run's `done.txt`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pointsmith.core.events import Event
from pointsmith.worker.trainer import learn, main


def witnessed(config: dict[str, Any], folder: Path, device: str, stop: Callable[[], bool]) -> Iterator[Event]:
    """Train, and note each step."""
    for event in learn(config, folder, device, stop):
        if event.kind == "step":
            line = {"step": event.step, "pid": os.getpid(), "time": time.time(), "token": int(sys.argv[2])}
            with (folder / "done.txt").open("a") as file:
                file.write(json.dumps(line) + "\n")
        yield event


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], witnessed))
