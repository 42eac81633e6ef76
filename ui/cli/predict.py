"""`pointsmith predict`: clouds in, labels with probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import percent, print_json

if TYPE_CHECKING:
    import numpy as np

    from ...core.predict import Prediction


@click.command()
@click.argument("folder", metavar="ADAPTER", type=click.Path(path_type=Path))
@click.argument("clouds", metavar="CLOUD...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--raw", is_flag=True, help="Take the points as they are: no centring, scaling or resampling.")
@click.option("--top", default=5, type=click.IntRange(min=1), show_default=True, help="How many classes to show.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--backbone-weights", metavar="PATH", help="The backbone's weight file, where it lies elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with label, probabilities and logits of each.")
def predict(
    folder: Path,
    clouds: tuple[Path, ...],
    raw: bool,
    top: int,
    device: str,
    backbone_weights: str | None,
    as_json: bool,
) -> None:
    """Classify each CLOUD (mesh, point cloud, or .npy of shape (N, 3) or (B, N, 3)) with an ADAPTER folder.

    \b
    Example:
      pointsmith predict runs/demo/adapter chair.obj scan.ply
    """
    from ...core.predict import Predictor

    predictor = Predictor.load(folder, device=device, backbone_weights=backbone_weights)
    names, points = _read(clouds, predictor.config.preparation.points, raw)
    found = predictor.predict(points, raw=raw, names=names)
    if as_json:
        print_json([_plain(name, one, predictor.classes, top) for name, one in zip(names, found)])
        return
    for name, one in zip(names, found):
        best = ", ".join(f"{label} {percent(share)}" for label, share in one.top(predictor.classes, top))
        click.echo(f"{name}: {best}")


def _read(paths: tuple[Path, ...], count: int, raw: bool) -> tuple[list[str], list[np.ndarray]]:
    """Return (names, clouds) of all files; the clouds of a batch file are numbered from 0."""
    import numpy as np

    from ...core.data.files import read_clouds

    names: list[str] = []
    points: list[np.ndarray] = []
    for path in paths:
        found = read_clouds(path, count=count, rng=np.random.default_rng(0), settle=not raw)
        names += [str(path)] if len(found) == 1 else [f"{path}[{i}]" for i in range(len(found))]
        points += found
    return names, points


def _plain(name: str, one: Prediction, classes: tuple[str, ...], top: int) -> dict[str, Any]:
    return {
        "cloud": name,
        "label": one.label,
        "top": [{"label": label, "probability": share} for label, share in one.top(classes, top)],
        "probabilities": [float(value) for value in one.probabilities],
        "logits": [float(value) for value in one.logits],
    }
