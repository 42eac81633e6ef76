"""The command line that does what the form would do."""

from __future__ import annotations

import json
import shlex
from typing import Any

from ..core.bounded_text import read_yaml
from ..core.config import RunConfig
from ..core.errors import UserError
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
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        plain = read_yaml(value, name="A value", limit=1_000) == value
    except UserError:
        plain = False
    return value if plain else json.dumps(value)
