"""The pictures of a card, drawn with Pillow alone: curves, confusion, and how much each expert is asked. PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_FINE = 2
"""Pixels for each one of the layout in the file; drawn at twice that and shrunk, so that lines are smooth."""
_INK, _QUIET, _GRID = "#1b2330", "#5b6678", "#e4e8ee"
_TONES = ("#2f6fb0", "#d9661f", "#14805a")
_EMBER = (217, 102, 31)
_BLUE = (47, 111, 176)


@dataclass(frozen=True)
class Line:
    """A curve: y against x, with its name."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """One set of axes. `top` fixes the upper end of y, and `share` says that y is 0..1, shown in per cent."""

    title: str
    lines: Sequence[Line]
    top: float | None = None
    share: bool = False


class _Canvas:
    """Draws in units of the layout."""

    def __init__(self, width: float, height: float) -> None:
        self.scale = 2 * _FINE
        size = (round(width * self.scale), round(height * self.scale))
        self.image = Image.new("RGB", size, "white")
        self.draw = ImageDraw.Draw(self.image)

    def line(self, places: Sequence[tuple[float, float]], fill: str, width: float = 1.0) -> None:
        points = [(x * self.scale, y * self.scale) for x, y in places]
        self.draw.line(points, fill=fill, width=max(1, round(width * self.scale)), joint="curve")

    def dot(self, x: float, y: float, radius: float, fill: str) -> None:
        s = self.scale
        self.draw.ellipse([(x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s], fill=fill)

    def box(self, x: float, y: float, width: float, height: float, fill: str | tuple[int, int, int]) -> None:
        s = self.scale
        self.draw.rectangle([x * s, y * s, (x + width) * s - 1, (y + height) * s - 1], fill=fill)

    def text(self, x: float, y: float, said: str, *, anchor: str = "la", size: float = 12, fill: str = _INK) -> None:
        font = ImageFont.load_default(size * self.scale)
        self.draw.text((x * self.scale, y * self.scale), said, font=font, fill=fill, anchor=anchor)

    def upright(self, x: float, y: float, said: str, size: float = 11) -> None:
        """Write from below to above; (x, y) is the middle of its lower end."""
        font = ImageFont.load_default(size * self.scale)
        left, top, right, bottom = font.getbbox(said)
        label = Image.new("RGB", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 2), "white")
        ImageDraw.Draw(label).text((-left, -top), said, font=font, fill=_INK)
        label = label.rotate(90, expand=True)
        place = (round(x * self.scale - label.width / 2), round(y * self.scale - label.height))
        self.image.paste(label, place)

    def png(self) -> bytes:
        width, height = self.image.size
        small = self.image.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        small.quantize(64, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        return file.getvalue()


def curves(charts: Sequence[Chart]) -> bytes | None:
    """Return the charts side by side; None where no curve has a point."""
    shown = [chart for chart in charts if any(len(line.x) for line in chart.lines)]
    if not shown:
        return None
    canvas = _Canvas(450 * len(shown), 300)
    for number, chart in enumerate(shown):
        _chart(canvas, chart, 450 * number)
    return canvas.png()


def _chart(canvas: _Canvas, chart: Chart, left: float) -> None:
    x0, y0, width, height = left + 54, 52, 450 - 54 - 20, 300 - 52 - 44
    xs = [x for line in chart.lines for x in line.x]
    ys = [y for line in chart.lines for y in line.y]
    right, top = max(xs) or 1.0, chart.top or _ceiling(max(ys))
    canvas.text(x0, 10, chart.title, size=14)
    for i in range(5):
        y = y0 + height - height * i / 4
        canvas.line([(x0, y), (x0 + width, y)], _GRID)
        value = top * i / 4
        canvas.text(x0 - 8, y, f"{100 * value:.0f} %" if chart.share else f"{value:.3g}", anchor="rm", fill=_QUIET)
    for i in range(5):
        canvas.text(x0 + width * i / 4, y0 + height + 8, f"{right * i / 4:.3g}", anchor="ma", fill=_QUIET)
    canvas.text(x0 + width, y0 + height + 24, "epoch", anchor="ra", fill=_QUIET)
    named = x0
    for number, line in enumerate(chart.lines):
        if not len(line.x):
            continue
        tone = _TONES[number % len(_TONES)]
        places = [(x0 + width * x / right, y0 + height - height * min(1.0, y / top)) for x, y in zip(line.x, line.y)]
        canvas.line(places, tone, 1.6) if len(places) > 1 else None
        for place in places if len(places) <= 40 else ():
            canvas.dot(*place, 2.6, tone)
        canvas.box(named, 35, 12, 3, tone)
        canvas.text(named + 17, 36, line.name, anchor="lm", size=11, fill=_QUIET)
        named += 32 + ImageFont.load_default(11).getlength(line.name)


def _ceiling(value: float) -> float:
    """Return the next round number, of which a quarter is one as well."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 4, 6, 8, 10) if step * unit >= value)


def confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> bytes | None:
    """Return the matrix (row: what it is, column: what it was called); a cell's colour is its share of the row.

    None where nothing was counted, and for more than a hundred classes, of which nothing could be read.
    """
    if not counts or not 2 <= len(classes) <= 100:
        return None
    cell = 34.0 if len(classes) <= 20 else 20.0 if len(classes) <= 45 else 10.0
    size = 11.0 if cell >= 20 else 8.0
    names = [_short(name) for name in classes]
    font = ImageFont.load_default(size)
    edge = max(font.getlength(name) for name in names) + 16
    side = cell * len(classes)
    canvas = _Canvas(edge + side + 14, edge + side + 34)
    canvas.text(8, edge + side + 12, "Row: what it is. Column: what it was called.", size=11, fill=_QUIET)
    for i, (name, row) in enumerate(zip(names, counts)):
        canvas.text(edge - 6, edge + (i + 0.5) * cell, name, anchor="rm", size=size)
        canvas.upright(edge + (i + 0.5) * cell, edge - 6, name, size=size)
        whole = sum(row) or 1
        for j, count in enumerate(row):
            share = count / whole
            ground = _mixed(_BLUE if i == j else _EMBER, share) if count else (246, 247, 249)
            canvas.box(edge + j * cell + 0.5, edge + i * cell + 0.5, cell - 1, cell - 1, ground)
            if count and cell >= 20:
                ink = "#ffffff" if share > 0.55 else _INK
                place = (edge + (j + 0.5) * cell, edge + (i + 0.5) * cell)
                canvas.text(*place, str(count), anchor="mm", size=size, fill=ink)
    return canvas.png()


def loads(shares: Sequence[Sequence[float]]) -> bytes | None:
    """Return which share of the sub-tokens each expert (column) of each block (row) was asked for; None for none."""
    if not shares or not shares[0]:
        return None
    cell, edge = 46.0, 76.0
    width, height = edge + cell * len(shares[0]) + 20, 56 + 24 * len(shares) + 14
    canvas = _Canvas(max(width, 380), height)
    canvas.text(10, 8, "Share of sub-tokens by expert", size=13)
    for expert in range(len(shares[0])):
        canvas.text(edge + (expert + 0.5) * cell, 34, f"{expert + 1}", anchor="ma", size=11, fill=_QUIET)
    for block, row in enumerate(shares):
        y = 52 + 24 * block
        canvas.text(edge - 8, y + 12, f"block {block + 1}", anchor="rm", size=11, fill=_QUIET)
        for expert, share in enumerate(row):
            canvas.box(edge + expert * cell + 0.5, y + 0.5, cell - 1, 23, _mixed(_BLUE, share))
            ink = "#ffffff" if share > 0.55 else _INK
            canvas.text(edge + (expert + 0.5) * cell, y + 12, f"{100 * share:.0f}", anchor="mm", size=11, fill=ink)
    return canvas.png()


def _mixed(colour: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    share = 0.12 + 0.88 * max(0.0, min(1.0, share))
    r, g, b = (round(255 + (one - 255) * share) for one in colour)
    return r, g, b


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"
