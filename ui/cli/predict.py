"""`pointsmith predict`: clouds or images in; labels with probabilities out, or the part of each point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import percent, print_json

if TYPE_CHECKING:
    import numpy as np

    from ...core.data.clouds import Preparation
    from ...core.data.picture import ImagePreparation
    from ...core.predict import Prediction


@click.command()
@click.argument("folder", metavar="ADAPTER", type=click.Path(path_type=Path))
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--raw", is_flag=True, help="Take the input as it is: no centring, scaling or resampling.")
@click.option("--category", metavar="NAME", help="What the clouds are, for an adapter that tells their parts.")
@click.option("--top", default=5, type=click.IntRange(min=1), show_default=True, help="How many classes to show.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--backbone-weights", metavar="PATH", help="The backbone's weight file, where it lies elsewhere.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON list with label (or parts), probabilities and logits of each."
)
def predict(
    folder: Path,
    files: tuple[Path, ...],
    raw: bool,
    category: str | None,
    top: int,
    device: str,
    backbone_weights: str | None,
    as_json: bool,
) -> None:
    """Classify each FILE with an ADAPTER: a folder, or OWNER/NAME[@REVISION] on the Hub.

    An adapter that was trained on parts tells the part of every point of a cloud, given its --category.

    A cloud is a mesh, a point cloud, or an .npy of shape (N, 3) or (B, N, 3).

    \b
    Example:
      pointsmith predict runs/demo/adapter chair.obj scan.ply
      pointsmith predict runs/signs/adapter photo.jpg
      pointsmith predict ada/chairs chair.obj
      pointsmith predict runs/parts/adapter cloud.txt --category chair --json
    """
    from ...core.data.kinds import require_modality
    from ...core.hub.pull import open_adapter
    from ...core.predict import Predictor
    from .pull import telling

    adapter = open_adapter(folder, backbone_weights=backbone_weights, report=telling())
    predictor = Predictor(adapter, device)
    for path in files:
        require_modality(str(path), predictor.modality)
    names, inputs = _read(files, predictor.config.preparation, raw)
    if predictor.answers == "parts":
        from .parts import predict_parts

        predict_parts(predictor, [(name, given) for name, given in zip(names, inputs)], category, raw, as_json)
        return
    if category is not None:
        raise UserError("This adapter tells classes, not parts", got=f"--category {category}", remedy="Leave it out")
    found = predictor.predict(inputs, raw=raw, names=names)
    if as_json:
        print_json([_plain(name, one, predictor.classes, top) for name, one in zip(names, found)])
        return
    for name, one in zip(names, found):
        best = ", ".join(f"{label} {percent(share)}" for label, share in one.top(predictor.classes, top))
        click.echo(f"{name}: {best}")


def _read(
    paths: tuple[Path, ...], preparation: Preparation | ImagePreparation, raw: bool
) -> tuple[list[str], Sequence[Path | np.ndarray]]:
    """Return (names, inputs) of all files: images by their paths, and the clouds of a batch file numbered from 0."""
    import numpy as np

    from ...core.data.files import read_clouds
    from ...core.data.picture import ImagePreparation

    if isinstance(preparation, ImagePreparation):
        return [str(path) for path in paths], paths
    names: list[str] = []
    points: list[np.ndarray] = []
    for path in paths:
        found = read_clouds(path, count=preparation.points, rng=np.random.default_rng(0), settle=not raw)
        names += [str(path)] if len(found) == 1 else [f"{path}[{i}]" for i in range(len(found))]
        points += found
    return names, points


def _plain(name: str, one: Prediction, classes: tuple[str, ...], top: int) -> dict[str, Any]:
    return {
        "cloud" if one.patch is not None else "image": name,
        "label": one.label,
        "top": [{"label": label, "probability": share} for label, share in one.top(classes, top)],
        "probabilities": [float(value) for value in one.probabilities],
        "logits": [float(value) for value in one.logits],
    }
