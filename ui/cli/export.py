"""`pointsmith export`: an adapter with its backbone as one file for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from .output import print_json, size


@click.command()
@click.argument("folder", metavar="ADAPTER", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .pt2 file to make.")
@click.option("--backbone-weights", metavar="PATH", help="The backbone's weight file, where it lies elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(folder: Path, out: Path, backbone_weights: str | None, as_json: bool) -> None:
    """Write an ADAPTER with its backbone as a torch.export program, which runs without Pointsmith.

    It takes prepared inputs (centred and scaled as the adapter's card says, the trained number of points) and answers
    logits; it is read back and held against the adapter before it gets its name. Adapters of parts cannot be exported.
    For the same as safetensors, with fewer operations, see `pointsmith merge`. There is no ONNX: its exporter needs
    packages that Pointsmith does without.

    \b
    Example:
      pointsmith export runs/chairs/adapter --out chairs.pt2
      python -c "import torch; print(torch.export.load('chairs.pt2').module()(torch.randn(1, 1024, 3)))"
    """
    from ...core.export import export as write
    from ...core.hub.pull import open_adapter
    from .pull import telling

    adapter = open_adapter(folder, backbone_weights=backbone_weights, report=telling())
    done = write(adapter, out)
    if as_json:
        print_json({"file": str(out.absolute()), **done.__dict__})
        return
    one = "any number of inputs" if done.example[0] == 0 else "one input at a time"
    shape = " × ".join(str(n) for n in done.example[1:])
    click.echo(f"Wrote {out} ({size(done.bytes)}): takes {one}, each {shape}")
    click.echo(f"Largest difference of logits on random inputs: {done.difference:.1e}")
