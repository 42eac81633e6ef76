"""Loads a data set once as a run would, in a child, and tells what came of it: parts and fingerprint, or why not.

Run as a module: `python -m pointsmith.core.data.trial`, with the data set's config as JSON on its standard input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field

import numpy as np
from pydantic import TypeAdapter

from ..errors import UserError
from .child import environment, limit_memory
from .config import DataConfig

_MEMORY_BYTES = 64 << 30
"""Address space, of which libraries take much: it ends what grows without bound, not what is merely large."""
_SECONDS = 1800


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
    command = [sys.executable, "-m", f"{__package__}.trial"]
    told = json.dumps({"data": content, "least": least, "memory": _MEMORY_BYTES})
    # Where a data set comes from the Hub, the child needs to know where that is kept.
    hub = {key: value for key, value in os.environ.items() if key.startswith("HF_") and "TOKEN" not in key}
    home = {key: os.environ[key] for key in ("HOME", "XDG_CACHE_HOME") if key in os.environ}
    try:
        child = subprocess.run(
            command,
            check=False,
            env=environment() | hub | home,
            input=told,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Trial(refused=f"Loading it takes longer than {_SECONDS // 60} minutes.")
    try:
        return Trial(**json.loads(child.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        last = (child.stderr.strip().splitlines() or ["no reason was given"])[-1][:300]
        return Trial(refused=f"Loading it ended with code {child.returncode}: {last}")


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


def main() -> int:
    """Load what the standard input describes, and print the trial as JSON."""
    asked = json.loads(sys.stdin.read())
    limit_memory(asked["memory"])
    print(json.dumps(asdict(_load(asked["data"], asked["least"]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
