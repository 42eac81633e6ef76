"""The older part of a long run's events, packed: blobs in Redis that take a third of the stream's room or less.

A stream keeps some thousand entries; what is older stands in a list beside it, each blob some thousand lines. Whoever
reads from the beginning gets both; whoever follows a run needs the stream alone.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence

from .timeline import Entry

SOME = 4096
"""Entries of a blob; a stream of twice as many is packed by so many."""


def packed(entries: Sequence[Entry]) -> str:
    """Return entries as one text: their numbers, then their lines, compressed, in the letters of base 85."""
    numbers: list[list[int]] = []
    for token, number, _ in entries:
        if numbers and numbers[-1][0] == token and sum(numbers[-1][1:]) == number:
            numbers[-1][2] += 1
        else:
            numbers.append([token, number, 1])
    text = "\n".join([json.dumps(numbers), *(line for _, _, line in entries)])
    return base64.b85encode(zlib.compress(text.encode(), 6)).decode("ascii")


def unpacked(blob: str) -> list[Entry]:
    """The inverse of `packed`."""
    head, *lines = zlib.decompress(base64.b85decode(blob)).decode().split("\n")
    places = [(token, first + i) for token, first, count in json.loads(head) for i in range(count)]
    return [(token, number, line) for (token, number), line in zip(places, lines, strict=True)]
