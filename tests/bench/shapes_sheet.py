"""Draws a sheet of generated clouds to look at: python shapes_sheet.py OUT.png [clean|faulty|wild] [columns] [seed]."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image, ImageDraw
from pointsmith.core.data.procedural import CLASSES, Faults, make_cloud, make_unlabelled
from pointsmith.core.data.procedural_solids import spin

TILE = 150


def tile(cloud: np.ndarray) -> Image.Image:
    """Return a picture of one cloud (N, 3), seen from the front right and above, nearer points darker."""
    seen = cloud @ (spin(0.35, 0) @ spin(-0.6, 1)).T
    order = np.argsort(seen[:, 2])
    picture = Image.new("RGB", (TILE, TILE), "white")
    draw = ImageDraw.Draw(picture)
    for x, y, z in seen[order]:
        shade = int(190 - 95 * (z + 1))
        left, top = (x * 0.46 + 0.5) * TILE, (-y * 0.46 + 0.5) * TILE
        draw.rectangle([left, top, left + 1.6, top + 1.6], fill=(shade, max(shade - 10, 0), min(shade + 60, 255)))
    return picture


def main() -> None:
    out, kind, columns, seed = (sys.argv[1:] + ["clean", "10", "0"][len(sys.argv) - 2 :])[:4]
    width = int(columns)
    if kind == "wild":
        rows = [list(make_unlabelled(width, 1024, int(seed), start=r * width, named=0.0)) for r in range(12)]
    else:
        faults = Faults.none() if kind == "clean" else Faults()
        rows = [
            [make_cloud(label, (int(seed), n), 4000 if kind == "clean" else 1024, faults=faults) for n in range(width)]
            for label in range(len(CLASSES))
        ]
    sheet = Image.new("RGB", (width * TILE, len(rows) * TILE))
    for y, row in enumerate(rows):
        for x, cloud in enumerate(row):
            sheet.paste(tile(cloud), (x * TILE, y * TILE))
    sheet.save(out)


if __name__ == "__main__":
    main()
