"""Secrets are blacked out wherever a process speaks: what it prints, logs, and writes about a run."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import TextIO
from urllib.parse import unquote, urlsplit

from ..core.printable import terminal_text

HIDDEN = "***"
_SHAPES = (
    (re.compile(r"\b(hf|api_org)_[A-Za-z0-9]{20,}"), rf"\1_{HIDDEN}"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # The name before the colon stays, so that a wrong one can be found; what follows goes up to the last @.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/]+(?=@)", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"([?&](?:password|token|secret|signature)=)[^\s&#'\"]+", re.IGNORECASE), rf"\1{HIDDEN}"),
)
_TOKEN = _SHAPES[0][0]
_NAMED = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY$|POINTSMITH_AUTH")
_LEAST = 8
"""Shorter values are too common as parts of other words to be blacked out by their text."""


def scrubber(environment: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """Return a function that blacks out what looks like a secret, and the secrets of this environment by their text."""
    known = sorted(_secrets(os.environ if environment is None else environment), key=len, reverse=True)
    exact = re.compile("|".join(map(re.escape, known))) if known else None

    def scrub(text: str) -> str:
        if exact is not None:
            text = exact.sub(HIDDEN, text)
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return text

    return scrub


def _secrets(environment: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    for name, value in environment.items():
        if _NAMED.search(name.upper()) and not os.path.exists(value):
            found.add(value)
        if "://" in value and "@" in value:
            try:
                found.add(unquote(urlsplit(value).password or ""))
            except ValueError:
                continue
    return {secret for secret in found if len(secret) >= _LEAST}


def holds_token(text: str) -> bool:
    """Whether a text has an access token of the Hub in it."""
    return _TOKEN.search(text) is not None


class ScrubbedStream(io.TextIOBase):
    """A text stream before another one: each write goes on scrubbed."""

    def __init__(self, stream: TextIO, scrub: Callable[[str], str]) -> None:
        self._stream, self._scrub = stream, scrub

    def write(self, text: str, /) -> int:
        self._stream.write(self._scrub(text))
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

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The bytes below, which are not scrubbed."""
        return self._stream.buffer  # type: ignore[return-value]


def guard_output() -> None:
    """From now on whatever this process prints, logs and traces back is scrubbed; call it at its very start.

    What a terminal would obey is shown as an escape instead, as names from anybody are printed and logged.
    """
    hide = scrubber()

    def scrub(text: str) -> str:
        return terminal_text(hide(text))

    sys.stdout, sys.stderr = ScrubbedStream(sys.stdout, scrub), ScrubbedStream(sys.stderr, scrub)


def print_secret(line: str) -> None:
    """Print a line as it is, secrets and all: for the address that only the operator's terminal is to show."""
    stream = sys.stdout._stream if isinstance(sys.stdout, ScrubbedStream) else sys.stdout
    print(line, file=stream, flush=True)
