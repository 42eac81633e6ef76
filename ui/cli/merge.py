"""`pointsmith merge`: fold an adapter into its backbone for deployment."""

from __future__ import annotations

from pathlib import Path

import click

from .output import print_json, size


@click.command()
@click.argument("folder", metavar="ADAPTER", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--backbone-weights", metavar="PATH", help="The backbone's weight file, where it lies elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def merge(folder: Path, out: Path, backbone_weights: str | None, as_json: bool) -> None:
    """Fold scales, shifts, low-rank products and biases of an ADAPTER into its backbone: same answers, less work.

    Works for ssf, lora, bitfit, norm-tuning and full, and for the scales and shifts (TFTS) of dapt. The new folder
    carries the whole backbone.

    \b
    Example:
      pointsmith merge runs/my-lora/adapter --out merged && pointsmith predict merged scan.ply
    """
    from ...core.merging import merge as fold
    from .pull import pulled_if_named

    done = fold(pulled_if_named(folder), out, backbone_weights=backbone_weights)
    if as_json:
        print_json({"adapter": str(out.absolute()), **done.__dict__})
        return
    click.echo(f"Wrote {out} ({size(done.bytes)}): {done.folded} operations folded, {done.remaining} remain")
    click.echo(f"Largest difference of logits on a random input: {done.difference:.1e}")
