"""What a worker process must know, handed to it on its command line as JSON (no secrets: the address is not in it)."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .timing import Timing

ADDRESS = "POINTSMITH_WORKER_REDIS"
"""The environment variable that gives a worker its Redis; the address may hold a password."""


@dataclass(frozen=True)
class WorkerSettings:
    """`name` as others see it, where the data are, the device to train on, and how a trainer is started."""

    name: str
    data_dir: Path
    device: str = "auto"
    """For runs that may go anywhere; others say what they need."""
    shown_device: str = "cpu"
    memory_gb: float | None = None
    """Of the GPU, or of the machine where there is none."""
    queues: tuple[str, ...] = ("cpu", "any")
    trainer: tuple[str, ...] = field(default_factory=lambda: (sys.executable, "-m", "pointsmith.worker.trainer"))
    """The command; run folder, token and device follow it."""
    timing: Timing = field(default_factory=Timing)

    def to_json(self) -> str:
        """One line that `from_json` reads back."""
        return json.dumps({**asdict(self), "data_dir": str(self.data_dir)})

    @classmethod
    def from_json(cls, text: str) -> WorkerSettings:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(
            **{
                **values,
                "data_dir": Path(values["data_dir"]),
                "trainer": tuple(values["trainer"]),
                "queues": tuple(values["queues"]),
                "timing": Timing(**values["timing"]),
            }
        )
