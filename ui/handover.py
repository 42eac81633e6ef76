"""A checked data set on its way into the Train form: its settings are filled in, everything else stays."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..core.config import choices
from ..core.data.config import DataConfig
from .form import PARTS, Setting, to_shown


def handed(config: DataConfig, settings: dict[str, Setting], keys: list[str], backbone: str) -> list[Any]:
    """Return updates of the form's inputs: the kinds of PARTS, then the components of `keys`.

    A backbone that cannot read the data gives way to the first one that can.
    """
    readers = [kind for kind, cls in choices("backbone").items() if getattr(cls, "modality", None) == config.modality]
    kinds: dict[str, Any] = {part: gr.skip() for part in PARTS}
    kinds["data"] = config.kind
    if backbone not in readers and readers:
        kinds["backbone"] = readers[0]
    values: list[Any] = []
    for key in keys:
        setting = settings[key]
        if (setting.part, setting.kind) != ("data", config.kind):
            values.append(gr.skip())
            continue
        value: Any = config
        for step in setting.path:
            value = getattr(value, step)
        values.append(to_shown(setting, value))
    return [*(kinds[part] for part in PARTS), *values]
