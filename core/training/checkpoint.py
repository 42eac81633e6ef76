"""Checkpoints that survive anything: written beside, synced, renamed, and only then pointed at.

Layout below the run's folder: `checkpoint/latest.json` names `model-*.safetensors`, `optimizer-*.safetensors` and,
once an epoch was the best, `best-*.safetensors`. All randomness of a step follows from the seed and the step's number,
so no generator's state has to be kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from ..durable import write_synced
from ..errors import UserError
from ..schema import Config


class Saved(Protocol):
    """A model that says which of its tensors a checkpoint has to hold."""

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def saved_state(self) -> dict[str, Tensor]: ...

    def load_saved(self, state: dict[str, Tensor], subject: str) -> None: ...


@dataclass
class State:
    """Where a run stands, apart from tensors. Sums are over the finished steps of the current epoch."""

    config: str
    step: int = 0
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: float = 0
    seen: int = 0
    best: float = float("-inf")
    best_loss: float = float("inf")
    best_epoch: int = 0
    best_file: str | None = None
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    finished: bool = False
    memory: str = ""
    """How gradients are made, where it was chosen when the run began."""
    files: dict[str, str] = field(default_factory=dict[str, str])


class Checkpoints:
    """The checkpoint folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkpoint"

    def read(self, config: str, kind: type[Config]) -> State | None:
        """Return the last state, or None where there is none. UserError when it belongs to another configuration.

        `config` is JSON of this `kind`; what a checkpoint of an earlier version does not name is at its default.
        """
        path = self.folder / "latest.json"
        if not path.is_file():
            return None
        state = State(**json.loads(path.read_text(encoding="utf-8")))
        if state.config != config and _as_now(state.config, kind) != config:
            raise UserError(
                f"The checkpoint in {self.folder} was made with another configuration",
                remedy="Resume with the same configuration, or use a new folder",
            )
        return state

    def restore(self, state: State, model: Saved, optimizer: torch.optim.Optimizer) -> None:
        """Fill model and optimizer from the checkpoint's tensors."""
        model.load_saved(load_file(self.folder / state.files["model"]), "The checkpoint")
        moments = load_file(self.folder / state.files["optimizer"])
        for name, parameter in model.trainable():
            optimizer.state[parameter] = {
                key: moments[f"{name}|{key}"].to(parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{name}|{key}" in moments
            }

    def keep_best(self, state: State, tensors: dict[str, Tensor]) -> None:
        """Write the model of the best epoch so far; it counts once the next checkpoint points at it."""
        name = f"best-{state.best_epoch}.safetensors"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_synced(self.folder / name, save(_plain(tensors)))
        state.best_file = name

    def best(self, state: State) -> dict[str, Tensor]:
        assert state.best_file
        return load_file(self.folder / state.best_file)

    def write(self, state: State, model: Saved, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint; the one before stays good until the new one is whole on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        moments = {
            f"{name}|{key}": torch.as_tensor(value)
            for name, parameter in model.trainable()
            for key, value in optimizer.state.get(parameter, {}).items()
        }
        files = {kind: f"{kind}-{state.step}.safetensors" for kind in ("model", "optimizer")}
        write_synced(self.folder / files["model"], save(_plain(model.saved_state())))
        write_synced(self.folder / files["optimizer"], save(_plain(moments)))
        state.files = files
        write_synced(self.folder / "latest.json", json.dumps(asdict(state)).encode())
        self._sweep(state)

    def _sweep(self, state: State) -> None:
        keep = {"latest.json", *state.files.values(), state.best_file}
        for path in self.folder.iterdir():
            if path.name not in keep:
                path.unlink(missing_ok=True)


def _as_now(config: str, kind: type[Config]) -> str:
    """Return a checkpoint's configuration as this version writes it, or nothing where it has no such form any more."""
    try:
        return kind.model_validate_json(config).model_dump_json()
    except (ValidationError, UserError):
        return ""


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
