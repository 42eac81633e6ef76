"""Loads a data set once as a run would, in a child, and tells what came of it: parts and fingerprint, or why not."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ..errors import UserError
from .child import SCRATCH
from .config import DataConfig
from .sandbox.protocol import Limits, Progress, Sandbox

_LIMITS = Limits(memory_bytes=64 << 30, cpu_seconds=7200, wall_seconds=1800)
"""Address space, of which libraries take much: it ends what grows without bound, not what is merely large."""


@dataclass
class Trial:
    """What a run would get. `counts` holds the inputs of each class by part; `refused` says why there would be none."""

    refused: str = ""
    fingerprint: str = ""
    classes: list[str] = field(default_factory=list[str])
    counts: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    notes: list[str] = field(default_factory=list[str])


def trial(config: DataConfig, least: int = 1) -> Trial:
    """Return what a run on `config`, with a model that needs `least` points, would get; never raises for the data."""
    content = TypeAdapter[DataConfig](DataConfig).dump_python(config, mode="json")
    # Where a data set comes from the Hub, the child needs to know where its files are.
    hub = {key: value for key, value in os.environ.items() if key.startswith("HF_") and "TOKEN" not in key}
    home = {key: os.environ[key] for key in ("HOME", "XDG_CACHE_HOME") if key in os.environ}
    with tempfile.TemporaryDirectory(prefix="pointsmith-trial-", dir=os.environ.get(SCRATCH) or None) as scratch:
        target = f"{__name__}:load_in_child"
        with Sandbox(target, _LIMITS, variables=hub | home, scratch=Path(scratch)) as sandbox:
            try:
                answer, _ = sandbox.ask({"data": content, "least": least}, name=f"The data set {config.kind}")
                return TypeAdapter(Trial).validate_python(answer)
            except UserError as error:
                return Trial(refused=str(error))
            except ValidationError:
                return Trial(refused=f"The data set {config.kind} could not be read: its reader's answer has no form.")


def _load(content: object, least: int) -> Trial:
    from .load import load

    try:
        dataset = load(TypeAdapter[DataConfig](DataConfig).validate_python(content), least=least)
    except UserError as error:
        return Trial(refused=str(error))
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    counts: dict[str, list[int]] = {
        name: np.bincount(part.labels, minlength=len(dataset.classes)).tolist()
        for name, part in parts.items()
        if part is not None
    }
    return Trial("", dataset.fingerprint, list(dataset.classes), counts, list(dataset.notes))


def load_in_child(request: dict[str, Any], _: Progress) -> tuple[Any, bytes]:
    """Return the trial of a data set; called in the child of `trial`."""
    return asdict(_load(request["data"], request["least"])), b""
