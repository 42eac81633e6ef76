"""The command line that does what the form would do."""

from __future__ import annotations

import json
import shlex
from typing import Any

import yaml

from ..core.config import RunConfig
from ..core.schema import leaves

_SHORT = {"epochs": "--epochs", "batch_size": "--batch-size", "optim.lr": "--lr", "seed": "--seed"}


def command_line(config: RunConfig, verb: str = "train") -> str:
    """Return `pointsmith train …` for a run, quoted for a POSIX shell; only what differs from the defaults."""
    content = config.to_dict()
    words = ["pointsmith", verb]
    for part in ("data", "backbone", "method"):
        words += [f"--{part}", content[part].pop("kind")]
    for key, value in leaves(content):
        if key in _SHORT:
            words += [_SHORT[key], str(value)]
        else:
            words += ["--set", f"{key}={_text(value)}"]
    return shlex.join(words)


def _text(value: Any) -> str:
    """One line of YAML; a text that YAML would read as something else is quoted."""
    if isinstance(value, str):
        return value if yaml.safe_load(value) == value else json.dumps(value)
    return json.dumps(value)
