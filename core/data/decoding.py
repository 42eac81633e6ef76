"""Images that are too many to keep are decoded by children, a file at a time, while the model learns.

Run as a module, `python -m pointsmith.core.data.decoding`, this is such a child: for each line with a file and a
preparation it answers with a line and, where all is well, with the square's bytes.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from ..errors import UserError
from .child import end_child, environment, limit_cpu, limit_memory
from .picture import ImagePreparation, decoding_threads, fit, read_image

_MEMORY_BYTES = 4 << 30
_CPU_SECONDS = 30
_WALL_SECONDS = 60.0


class Decoder:
    """A few children, started when they are needed; calls come from threads, and each keeps one child busy."""

    def __init__(self) -> None:
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []
        self._seats = threading.BoundedSemaphore(decoding_threads())

    def square(self, file: Path, name: str, preparation: ImagePreparation) -> np.ndarray:
        """Return what `fit` makes of a file, (size, size, 3) uint8. UserError when it cannot be read any more."""
        with self._seats:
            child = self._child()
            clock = threading.Timer(_WALL_SECONDS, child.kill)
            clock.daemon = True
            clock.start()
            try:
                return _asked(child, file, name, preparation)
            except (OSError, ValueError, EOFError) as error:
                child.kill()
                raise UserError(f"{name} can no longer be decoded within {_CPU_SECONDS} s of CPU time") from error
            finally:
                clock.cancel()
                self._idle.put(child)

    def _child(self) -> subprocess.Popen[bytes]:
        try:
            child = self._idle.get_nowait()
            if child.poll() is None:
                return child
            end_child(child)
        except queue.Empty:
            pass
        command = [sys.executable, "-m", __spec__.name]
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self._all.append(child)
        return child

    def close(self) -> None:
        """End the children."""
        for child in self._all:
            end_child(child)


def _asked(child: subprocess.Popen[bytes], file: Path, name: str, preparation: ImagePreparation) -> np.ndarray:
    assert child.stdin is not None and child.stdout is not None
    asked = {"file": str(file), "name": name, "preparation": preparation.model_dump()}
    child.stdin.write(json.dumps(asked).encode() + b"\n")
    child.stdin.flush()
    refused = json.loads(child.stdout.readline(1 << 16))
    if refused:
        raise UserError(str(refused)[:2000])
    size = preparation.size
    content = child.stdout.read(size * size * 3)
    return np.frombuffer(content, np.uint8).reshape(size, size, 3)


def main() -> None:
    """Answer until there is nothing more to do."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a parser that prints must not be taken for an answer
    limit_memory(_MEMORY_BYTES)
    for line in sys.stdin:
        limit_cpu(_CPU_SECONDS)
        asked = json.loads(line)
        content, refused = b"", ""
        try:
            preparation = ImagePreparation.model_validate(asked["preparation"])
            content = fit(read_image(Path(asked["file"]), asked["name"]), preparation).tobytes()
        except UserError as error:
            refused = str(error)[:2000]
        answers.write(json.dumps(refused).encode() + b"\n" + content)
        answers.flush()


if __name__ == "__main__":
    main()
