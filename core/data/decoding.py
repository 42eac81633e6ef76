"""Images that are too many to keep are decoded by children, a file at a time, while the model learns."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import numpy as np

from .picture import ImagePreparation, decoding_threads, fit, read_image
from .sandbox.protocol import Ended, Limits, Progress, Sandbox

_LIMITS = Limits()


class Decoder:
    """A few children, started when they are needed; calls come from threads, and each keeps one child busy."""

    def __init__(self) -> None:
        self._all = [Sandbox(f"{__name__}:square_in_child", _LIMITS) for _ in range(decoding_threads())]
        self._idle: queue.LifoQueue[Sandbox] = queue.LifoQueue()
        for child in self._all:
            self._idle.put(child)

    def square(self, file: Path, name: str, preparation: ImagePreparation) -> np.ndarray:
        """Return what `fit` makes of a file, (size, size, 3) uint8. UserError when it cannot be read any more."""
        request = {"file": str(file), "name": name, "preparation": preparation.model_dump()}
        child = self._idle.get()
        try:
            _, content = child.ask(request, name=name)
        finally:
            self._idle.put(child)
        size = preparation.size
        if len(content) != size * size * 3:
            raise Ended(f"{name} could not be decoded: its reader gave no such image")
        return np.frombuffer(content, np.uint8).reshape(size, size, 3)

    def close(self) -> None:
        """End the children."""
        for child in self._all:
            child.close()


def square_in_child(request: dict[str, Any], _: Progress) -> tuple[Any, bytes]:
    """Return the bytes of an image's square; called in the children of `Decoder`."""
    preparation = ImagePreparation.model_validate(request["preparation"])
    return None, fit(read_image(Path(request["file"]), request["name"]), preparation).tobytes()
