"""What a run needs and what a worker has, matched by queues: a worker listens only to those it can serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..core.errors import UserError

Place = Literal["any", "cpu", "cuda"]
PLACES: tuple[Place, ...] = ("any", "cpu", "cuda")
CLASSES = (8, 16, 24, 40, 80, 140, 180)
"""Memory classes of GPUs in GB, as their makers name them."""
NOMINAL = 0.9
"""A GPU sold with 24 GB reports a little less."""


@dataclass(frozen=True)
class Needs:
    """Where a run may be trained, and how much memory its GPU must have (None: any)."""

    device: Place = "any"
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        if self.device not in PLACES:
            raise UserError("A run cannot ask for this kind of device", got=self.device, expected="any, cpu or cuda")
        if self.memory_gb is not None and self.device != "cuda":
            raise UserError("Only a run on a GPU can ask for an amount of memory", got=self.device, expected="cuda")
        if self.memory_gb is not None and not 0 < self.memory_gb <= CLASSES[-1]:
            raise UserError(
                "No queue is for so much GPU memory", got=f"{self.memory_gb:g} GB", expected=f"up to {CLASSES[-1]} GB"
            )

    @property
    def queue(self) -> str:
        """The queue in which such a run waits: `any`, `cpu`, `cuda`, or `cuda-24` for at least 24 GB."""
        if self.memory_gb is None:
            return self.device
        return f"cuda-{next(size for size in CLASSES if size >= self.memory_gb)}"

    @property
    def trainer_device(self) -> str:
        """What the trainer is told: a run that asked for a GPU must not end up on the CPU in silence."""
        return "auto" if self.device == "any" else self.device


def queues_of(device: Literal["cpu", "cuda"], memory_gb: float | None = None) -> tuple[str, ...]:
    """The queues that a worker with this device serves; the most demanding first."""
    if device == "cpu":
        return ("cpu", "any")
    served = [f"cuda-{size}" for size in reversed(CLASSES) if memory_gb is not None and memory_gb >= NOMINAL * size]
    return (*served, "cuda", "any")


def all_queues() -> tuple[str, ...]:
    """Every queue there is."""
    return (*PLACES, *(f"cuda-{size}" for size in CLASSES))


def needs_of(text: Any) -> Needs:
    """Read what a ledger or a run's file says; anything unknown means that the run can go anywhere."""
    try:
        return Needs(**text) if isinstance(text, dict) else Needs()
    except (TypeError, UserError):
        return Needs()
