"""Config classes become form settings, and what was typed becomes a config again; knows no page layout.

Every field of every config class gets one component. Limits are checked by the config alone, so that a bad value is
explained in one place and in one way.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import gradio as gr
from pydantic.fields import FieldInfo

from ..core.config import RunConfig, choices
from ..core.schema import Config

PARTS: tuple[Literal["data", "backbone", "method"], ...] = ("data", "backbone", "method")
"""The fields of RunConfig that are unions: each has a chosen kind and a sub-form of that kind."""

_WORDS = {"lr": "learning rate", "cls": "class token", "dim": "width", "mlp": "feed-forward"}
_NAMES = {"widths": "mini-PointNet widths", "test": "test file", "train": "training file", "select": "keep which epoch"}


@dataclass(frozen=True)
class Setting:
    """One field of one config class. `part` and `kind` are empty outside the unions; `path` leads to the field."""

    part: str
    kind: str
    path: tuple[str, ...]
    annotation: Any
    default: FieldInfo
    field: FieldInfo
    """Where the description and the limits stand: `default`, or the base class's field that it overrides."""

    @property
    def key(self) -> str:
        """A unique name, as in `method.dapt.rank` or `optim.lr`."""
        return ".".join(step for step in (self.part, self.kind, *self.path) if step)

    @property
    def label(self) -> str:
        name = self.path[-1]
        text = _NAMES.get(name) or " ".join(_WORDS.get(word, word) for word in name.split("_"))
        return text[0].upper() + text[1:]

    @property
    def info(self) -> str:
        """The field's description with its limits."""
        described = (self.field.description or "").replace("`", "")
        return " · ".join(text for text in (described, limits(self.field)) if text)


def limits(field: FieldInfo) -> str:
    """Return a field's limits in words, as in `1 to 10000`; empty where there are none."""
    low = high = ""
    for rule in field.metadata:
        if isinstance(rule, annotated_types.Ge):
            low = f"{rule.ge}"
        elif isinstance(rule, annotated_types.Gt):
            low = f"more than {rule.gt}"
        elif isinstance(rule, annotated_types.Le):
            high = f"{rule.le}"
        elif isinstance(rule, annotated_types.Lt):
            high = f"less than {rule.lt}"
    if low and high:
        return f"{low} to {high}"
    return (low if low.startswith("more") else f"at least {low}") if low else f"at most {high}" if high else ""


def settings() -> list[Setting]:
    """Return every setting of a RunConfig, in the order of the classes."""
    found: list[Setting] = []
    for name, field in RunConfig.model_fields.items():
        if name in PARTS:
            for kind, cls in choices(name).items():  # type: ignore[arg-type]
                found += _of_class(cls, name, kind, ())
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            found += _of_class(field.annotation, "", "", (name,))
        else:
            found.append(Setting("", "", (name,), field.annotation, field, field))
    return found


def _of_class(cls: type[Config], part: str, kind: str, path: tuple[str, ...]) -> Iterable[Setting]:
    for name, field in cls.model_fields.items():
        if part and not path and name == "kind":
            continue  # chosen by the part's own selector
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            yield from _of_class(field.annotation, part, kind, (*path, name))
        else:
            yield Setting(part, kind, (*path, name), field.annotation, field, _described(cls, name))


def _described(cls: type[Config], name: str) -> FieldInfo:
    """The field as it was first described: a class that only changes a default says no more about it."""
    field = cls.model_fields[name]
    if field.description:
        return field
    for base in cls.__mro__[1:]:
        if issubclass(base, Config) and name in base.model_fields and base.model_fields[name].description:
            return base.model_fields[name]
    return field


def bare(annotation: Any) -> tuple[Any, bool]:
    """Return (type, whether None is allowed too)."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [one for one in get_args(annotation) if one is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return annotation, False


_WRITTEN = (int, float, Config)


def component(setting: Setting, shown: Any) -> gr.components.Component:
    """Return the Gradio component of a setting; TypeError for a type that has none yet."""
    kind, optional = bare(setting.annotation)
    common: dict[str, Any] = {"label": setting.label, "info": setting.info or None, "interactive": True}
    common |= {"elem_id": "set-" + setting.key.replace(".", "-"), "min_width": 150}
    if get_origin(kind) is Literal:
        options = [(str(option), option) for option in get_args(kind)]
        options = [("as published", None), *options] if optional else options
        return gr.Dropdown(options, value=shown, filterable=False, **common)
    if kind is bool and optional:  # a checkbox cannot say that nothing was chosen
        options = [("as published", None), ("yes", True), ("no", False)]
        return gr.Dropdown(options, value=shown, filterable=False, **common)
    if kind is bool:
        return gr.Checkbox(value=shown, **common)
    if kind in (int, float) and not optional:
        return gr.Number(value=shown, **common)
    if get_origin(kind) is tuple and get_origin(get_args(kind)[0]) is Literal:
        return gr.Dropdown(list(get_args(get_args(kind)[0])), value=shown, multiselect=True, **common)
    # A number that may be absent is a text: Gradio's number field turns an empty value into 0 in the browser.
    # So is a tuple of numbers, or of configs that are written as text.
    if kind in (str, Path, int, float) or (get_origin(kind) is tuple and issubclass(get_args(kind)[0], _WRITTEN)):
        return gr.Textbox(value=shown, placeholder="none" if optional else None, max_lines=1, **common)
    raise TypeError(f"{setting.key} has a type without a component: {setting.annotation!r}")


def to_shown(setting: Setting, value: Any) -> Any:
    """Return a config's plain value as its component wants it."""
    kind, optional = bare(setting.annotation)
    if get_origin(kind) is tuple:
        if get_origin(get_args(kind)[0]) is Literal:
            return list(value or ())
        return ", ".join(str(one) for one in value or ())
    if kind in (str, Path) or (optional and kind in (int, float)):
        return "" if value is None else str(value)
    return value


def to_plain(setting: Setting, value: Any) -> Any:
    """Return what a component holds as a plain value for the config; what does not fit stays, to be refused by name."""
    kind, optional = bare(setting.annotation)
    if get_origin(kind) is tuple:
        if isinstance(value, str):
            value = [_number(one) for one in value.split(",") if one.strip()]
        return None if optional and not value else value
    if kind in (str, Path):
        text = (value or "").strip()
        return None if optional and not text else text
    if kind in (int, float) and isinstance(value, str):
        value = _number(value) if value.strip() else None
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()


def to_content(kinds: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested content of a RunConfig from the chosen kind of each part and the components' values by key."""
    content: dict[str, Any] = {part: {"kind": kinds[part]} for part in PARTS}
    for setting in settings():
        if setting.part and kinds[setting.part] != setting.kind:
            continue
        place = content[setting.part] if setting.part else content
        for step in setting.path[:-1]:
            place = place.setdefault(step, {})
        plain = to_plain(setting, values[setting.key])
        if plain == "" and bare(setting.annotation)[0] is Path:
            continue  # reported as missing, not as a folder called ""
        place[setting.path[-1]] = plain
    return content


def defaults() -> dict[str, Any]:
    """Return the plain default of every setting by key, None where there is none."""
    return {
        one.key: None if one.default.is_required() else one.default.get_default(call_default_factory=True)
        for one in settings()
    }


def from_config(config: RunConfig) -> tuple[dict[str, str], dict[str, Any]]:
    """Return (kind by part, shown value by key) of a config; settings of kinds not chosen get their defaults."""
    kinds = {part: getattr(config, part).kind for part in PARTS}
    plain = defaults()
    for setting in settings():
        if setting.part and kinds[setting.part] != setting.kind:
            continue
        value: Any = getattr(config, setting.part) if setting.part else config
        for step in setting.path:
            value = getattr(value, step)
        plain[setting.key] = value
    return kinds, {one.key: to_shown(one, plain[one.key]) for one in settings()}


class Form:
    """The components of all settings by key, filled from `start`; the page decides where each is rendered, once."""

    def __init__(self, start: RunConfig) -> None:
        self.settings = {one.key: one for one in settings()}
        self.components: dict[str, gr.components.Component] = {}
        _, self._start = from_config(start)

    def place(self, wanted: Callable[[Setting], bool]) -> int:
        """Render the settings that are wanted and not placed yet; return how many."""
        chosen = [one for key, one in self.settings.items() if key not in self.components and wanted(one)]
        self.place_keys([one.key for one in chosen])
        return len(chosen)

    def place_keys(self, keys: Iterable[str]) -> None:
        """Render the settings of these names, in this order."""
        for key in keys:
            self.components[key] = component(self.settings[key], self._start[key])
