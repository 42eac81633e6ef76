"""Bounds for JSON bodies, checked on the raw bytes as they arrive and before anything parses them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate

MAX_DEPTH = 64
MAX_VALUES = 2**16
"""Values in one body: 16,384 points as `[x, y, z]` are as many. Gradio walks over them on the event loop."""
MAX_SYNTAX_BYTES = 8 * 2**20
"""Bytes outside of strings."""
# The end of the chunk ends a string, too, so that each quote is looked at once and the scan stays linear.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|(\\?)\Z)', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


class TooComplexError(ValueError):
    """The body nests too deep or holds too many values."""


@dataclass
class JsonBounds:
    """Counts depth, values and bytes outside of strings over the chunks of one body.

    A body that is no JSON is counted just the same: the parser refuses it later, at no higher cost.
    """

    depth: int = 0
    values: int = 0
    syntax_bytes: int = 0
    _open: bytes = b""
    """What the last chunk leaves open: the quote of an unfinished string, and a backslash at its end."""

    def feed(self, chunk: bytes) -> None:
        """Count one more chunk. TooComplexError as soon as a bound is passed."""
        text = self._open + chunk
        self._open = b""
        syntax = _STRING.sub(self._close, text)
        brackets = syntax.translate(None, _ALL_BUT_BRACKETS)
        opened = brackets.count(b"[") + brackets.count(b"{")
        self.values += opened + syntax.count(b",")
        self.syntax_bytes += len(syntax)
        if self.values > MAX_VALUES or self.syntax_bytes > MAX_SYNTAX_BYTES:
            raise TooComplexError
        if self.depth + opened > MAX_DEPTH:
            deepest = max(accumulate((1 if one in b"[{" else -1 for one in brackets), initial=self.depth))
            if deepest > MAX_DEPTH:
                raise TooComplexError
        # Where more is closed than was opened this is no JSON, and the parser stops at that bracket.
        self.depth += 2 * opened - len(brackets)

    def _close(self, match: re.Match[bytes]) -> bytes:
        if match[1] is not None:
            self._open = b'"' + match[1]
        return b""
