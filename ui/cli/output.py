"""How answers are printed: aligned tables for people, JSON for programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

from ...core.printable import printable, terminal_text


class _TerminalStream(io.TextIOBase):
    """The standard output or error of a verb: names of others are printed, never obeyed.

    It has no `buffer`: whoever wrote bytes there would pass it by.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        self._stream.write(terminal_text(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors


@contextmanager
def terminal_output() -> Iterator[None]:
    """While this lasts, whatever is written to the standard streams is safe for a terminal (see `terminal_text`)."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _TerminalStream(sys.stdout), _TerminalStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def print_json(value: object) -> None:
    """Print a value as JSON on stdout; numbers keep their full precision."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text in aligned columns; a column of which every cell is a number stands to the right."""
    lines = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    laid = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(line, widths, right)
        )
        for line in lines
    ]
    laid.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in laid)


def _is_number(text: str) -> bool:
    return text in ("", "–") or text.replace(",", "").replace(".", "").replace("%", "").strip().isdigit()


def percent(value: float | None) -> str:
    """Return a share (0..1) as per cent, or a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f} %"


def size(count: float) -> str:
    """Return a number of bytes as a person reads it."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
