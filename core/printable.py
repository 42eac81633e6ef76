"""Text that is safe to show: nothing that a terminal obeys or that reorders its neighbors, and never too long."""

from __future__ import annotations

import re
import reprlib

# C0 but tab and line feed, DEL and C1; zero-width and bidirectional marks; line separators; tags; lone surrogates.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINE_START = re.compile("\r(\x1b\\[2K)?")
_SHORT = 200
"""Characters of a value in a message, at most."""


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return text with what a terminal obeys shown as an escape of JSON: ESC becomes `\u001b`.

    Line feeds and tabs are escaped, too, unless `lines` says that the text has several lines.
    """
    text = _OBEYED.sub(_escape, text)
    return text if lines else text.replace("\n", "\\n").replace("\t", "\\t")


def terminal_text(text: str) -> str:
    """Return what may be written to a terminal or a log of this text, which may have names from anybody in it.

    Only the very beginning may go back to the start of the line and clear it, as progress bars do.
    """
    own = _LINE_START.match(text)
    start = own[0] if own else ""
    return start + printable(text[len(start) :], lines=True)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code > 0xFFFF:  # JSON writes such a character as two
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


def shortened(text: str, limit: int = _SHORT) -> str:
    """Return a text of at most `limit` characters: the middle of a longer one is left out."""
    if len(text) <= limit:
        return text
    head = (limit - 3) * 2 // 3
    return f"{text[:head]} … {text[len(text) - (limit - 3 - head) :]}"


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, _SHORT, _SHORT, 60

    def repr_str(self, x: str, level: int) -> str:
        return repr(shortened(x, self.maxstring))

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write numbers of more than 4,300 digits, and takes long for thousands.
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"a number of {x.bit_length():,} bits"


def brief(value: object) -> str:
    """Return what `repr` would, printable and of at most about 200 characters, without writing a large value out."""
    return printable(shortened(_Brief().repr(value)))
