"""The base of every configuration object: typed, frozen, strict, with errors a person can act on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import UserError


class Config(BaseModel):
    """A frozen value object. Unknown keys and impossible values are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())


def is_mapping(content: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether plain data, as read from a file, is a mapping."""
    return isinstance(content, dict)


def leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of all that is no mapping itself."""
    for key, value in content.items():
        if is_mapping(value):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _key(path: tuple[int | str, ...]) -> str:
    """Return the key as a user writes it: without the kind that pydantic puts behind a part that has kinds."""
    parts = [str(part) for part in path]
    kept = [
        part
        for i, part in enumerate(parts)
        if not (i and parts[i - 1] in ("backbone", "method", "data") and i + 1 < len(parts))
    ]
    return ".".join(kept)


def explain(error: ValidationError, subject: str) -> UserError:
    """Turn pydantic's first complaint into one sentence that names the key, the value and what was expected."""
    first = error.errors()[0]
    key = _key(first["loc"]) or subject
    more = f" ({error.error_count() - 1} more like this)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return UserError(f"{subject}: unknown key {key}{more}", remedy="Remove it or correct its spelling")
    if first["type"] == "union_tag_invalid":
        tags = first.get("ctx", {}).get("expected_tags", "")
        got: Any = first.get("ctx", {}).get("tag")
        return UserError(f"{subject}: unknown {key}{more}", got=got, expected=f"one of {tags}")
    if first["type"] == "union_tag_not_found":
        return UserError(f"{subject}: {key} does not say which kind it is{more}", expected="a key `kind`")
    if first["type"] == "missing":
        return UserError(f"{subject}: {key} is missing{more}", remedy="Add it")
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return UserError(f"{subject}: {key} does not fit{more}", got=first.get("input"), expected=message)
