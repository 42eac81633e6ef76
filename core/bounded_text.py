"""YAML and JSON from anybody: size, depth and number of values are bounded before they can cost time or memory."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError
from .printable import printable, shortened

MOST_JSON = 1_000_000
"""Bytes of a JSON text, unless the caller says otherwise."""
MOST_YAML = 64_000
"""Bytes of a YAML text: settings are a hundred times smaller, and its parser is slow."""
DEPTH = 20
"""Lists and mappings inside each other."""
VALUES = 20_000
"""Lists, mappings, keys and values together."""
_PLAIN = frozenset(
    ["!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map"))]
)
_TEXT = 200_000
_NUMBER = 1_000
"""Digits of a number."""


def read_yaml(source: str | bytes | Path, *, name: str, limit: int = MOST_YAML) -> Any:
    """Return the plain data of YAML, which JSON is too: of a text, of bytes in UTF-8, or of a file.

    Aliases, several documents, a key given twice, and tags for anything but plain values are refused. `name` is what
    messages call the text. UserError says what is wrong and in which line.
    """
    text = _text(source, name, limit)
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except _TooMuch as error:
        raise _refusal(name, str(error)) from None
    except yaml.reader.ReaderError as error:
        raise UserError(f"{name} holds a character that YAML does not allow", got=f"at {error.position}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{name} is not valid YAML{where}", remedy="Correct that line") from error
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, RecursionError) as error:
        # Dates that do not exist, numbers of thousands of digits: Python's own words would not help.
        raise UserError(f"{name} is not valid YAML", expected="plain texts, numbers, lists and mappings") from error
    finally:
        if loader is not None:
            loader.dispose()


def read_json(
    source: str | bytes | Path, *, name: str, limit: int = MOST_JSON, depth: int = DEPTH, values: int = 1_000_000
) -> Any:
    """Return the plain data of JSON: of a text, of bytes in UTF-8, or of a file.

    NaN, Infinity and a key given twice are refused. `name` is what messages call the text. UserError says what is
    wrong and in which line.
    """
    text = _text(source, name, limit)
    try:
        content = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
        )
    except _TooMuch as error:
        raise _refusal(name, str(error)) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{name} is not valid JSON at {where}", remedy="Correct that line") from error
    except RecursionError as error:
        raise _refusal(name, f"at most {depth} levels of lists and mappings") from error
    check_bounds(content, name=name, depth=depth, values=values, text=limit)
    return content


def check_bounds(value: Any, *, name: str, depth: int = DEPTH, values: int = VALUES, text: int = _TEXT) -> None:
    """Refuse plain data that is deep, large, or holds long texts, as it came already parsed with a request. UserError.

    The time that it takes is bounded, too; nothing is copied.
    """
    level: list[Any] = [value]
    seen = 0
    for _ in range(depth + 1):
        below: list[Any] = []
        for content in level:
            seen += 1
            if isinstance(content, dict):
                seen += len(content)
                for key in content:
                    _check_text(key, name, text)
                below.extend(content.values())
            elif isinstance(content, (list, tuple)):
                below.extend(content)
            else:
                _check_text(content, name, text)
            if seen + len(below) > values:
                raise _refusal(name, f"at most {values:,} values")
        if not below:
            return
        level = below
    raise _refusal(name, f"at most {depth} levels of lists and mappings")


def _check_text(content: Any, name: str, limit: int) -> None:
    if isinstance(content, str) and len(content) > limit:
        raise _refusal(name, f"texts of at most {limit:,} characters")
    if isinstance(content, int) and content.bit_length() > 4 * _NUMBER:
        raise _refusal(name, f"numbers of at most {_NUMBER:,} digits")


def _text(source: str | bytes | Path, name: str, limit: int) -> str:
    """Return the source's text, of which no more than `limit` bytes were read."""
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                source = file.read(limit + 1)
        except OSError as error:
            raise UserError(f"{name} cannot be read", remedy="Check that it is a file that may be read") from error
    if len(source) > limit:
        raise _refusal(name, f"at most {limit:,} bytes")
    if isinstance(source, str):
        return source.removeprefix("\ufeff")
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not text in UTF-8", got=f"byte {error.start}", remedy="Save it as UTF-8") from error


def _refusal(name: str, expected: str) -> UserError:
    return UserError(f"{name} is too large, too deep or not plain", expected=expected)


class _TooMuch(Exception):
    """A bound was passed, or something is there that plain data do not have; says what is expected."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that counts while it parses: what it refuses was never built."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _TooMuch("no aliases: write the values out")
        if (getattr(self.peek_event(), "tag", None) or "!") not in _PLAIN:
            raise _TooMuch("no tags but those of plain values")
        self._depth += 1
        self._count += 1
        if self._depth > DEPTH:
            raise _TooMuch(f"at most {DEPTH} levels of lists and mappings")
        if self._count > VALUES:
            raise _TooMuch(f"at most {VALUES:,} values")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise _TooMuch("no merged mappings: write the values out")
        _check_keys([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        value = super().construct_scalar(node)
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and len(value) > _NUMBER:
            raise _TooMuch(f"numbers of at most {_NUMBER:,} digits")
        return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_keys([key for key, _ in pairs])
    return dict(pairs)


def _check_keys(keys: list[str]) -> None:
    if len(set(keys)) < len(keys):
        twice, count = Counter(keys).most_common(1)[0]
        raise _TooMuch(f"each key once, but {printable(shortened(twice, 60))} stands there {count} times")


def _integer(digits: str) -> int:
    if len(digits) > _NUMBER:
        raise _TooMuch(f"numbers of at most {_NUMBER:,} digits")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _TooMuch(f"finite numbers, not {shortened(digits, 60)}")
    return value


def _constant(word: str) -> float:
    raise _TooMuch(f"finite numbers, not {word}")
