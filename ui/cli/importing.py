"""`pointsmith import`: a published checkpoint becomes an adapter folder."""

from __future__ import annotations

from pathlib import Path

import click

from .names import known
from .output import print_json, size


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--layout", required=True, metavar="LAYOUT", help="How the file is laid out, e.g. pointmae/scan_hardest.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The adapter folder to make.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_(file: Path, layout: str, out: Path, as_json: bool) -> None:
    """Turn a published checkpoint FILE (.pth or .safetensors) into an adapter folder of ours.

    \b
    Example:
      pointsmith import scan_hardest.pth --layout pointmae/scan_hardest --out adapters/point-mae
    """
    from ...core.importing import import_checkpoint, importable
    from ...core.models.layouts import LAYOUTS

    if layout not in LAYOUTS:  # core has a sentence of its own for the layouts of bare backbones
        known(layout, sorted(importable()), "layout")
    written = import_checkpoint(file, layout, out)
    if as_json:
        print_json({"adapter": str(out.absolute()), "layout": layout, "bytes": written})
    else:
        click.echo(f"Wrote {out} ({size(written)}).\nTry it: pointsmith predict {out} CLOUD")
