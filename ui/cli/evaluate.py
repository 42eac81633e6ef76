"""`pointsmith evaluate`: how well an adapter does on labelled clouds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import percent, print_json, table
from .session import CONFIG_NAME

if TYPE_CHECKING:
    import numpy as np

    from ...core.adapters import AdapterConfig
    from ...core.data.clouds import Dataset
    from ...core.data.config import DataConfig

PARTS = ("test", "validation", "train", "all")


@click.command()
@click.argument("folder", metavar="ADAPTER", type=click.Path(path_type=Path))
@click.option("--data", metavar="KIND|PATH", help="`demo`, a folder, .zip or .h5.  [default: what it was trained with]")
@click.option("--split", type=click.Choice(PARTS), help="Which part.  [default: test; all of an .h5 file]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--backbone-weights", metavar="PATH", help="The backbone's weight file, where it lies elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    folder: Path, data: str | None, split: str | None, device: str, backbone_weights: str | None, as_json: bool
) -> None:
    """Print accuracy, accuracy per class and the confusion matrix of an ADAPTER folder.

    \b
    Example:
      pointsmith evaluate runs/demo/adapter
      pointsmith evaluate runs/scans/adapter --data more_scans/ --split all
    """
    from ...core.data.load import load
    from ...core.predict import Predictor

    predictor = Predictor.load(folder, device=device, backbone_weights=backbone_weights)
    chosen = _data(folder, predictor.config, data)
    if split is None:
        split = "all" if chosen.kind == "h5" and chosen.test is None else "test"
    dataset = load(chosen, least=predictor.config.run.backbone.least_points)
    points, labels = _part(dataset, split)
    labels = _as_trained(labels, dataset.classes, predictor.classes)
    notes = list(dataset.notes)
    if data is None and dataset.fingerprint != predictor.config.dataset_fingerprint:
        notes.append("warning: these are not the clouds that the adapter was trained and tested with")
    for note in notes:
        click.echo(note, err=True)
    scores = _score(predictor, points, labels)
    scores = {"data": chosen.kind, "split": split, "clouds": len(labels), **scores, "classes": list(predictor.classes)}
    if as_json:
        print_json(scores)
    else:
        _show(scores)


def _data(folder: Path, config: AdapterConfig, given: str | None) -> DataConfig:
    """Return the data to score on: those given, prepared as the adapter's own were, or the adapter's own."""
    from ...core.config import parse_config
    from .run_options import absolute, data_content

    run: dict[str, Any] = config.run.model_dump(mode="json")
    run["data"] |= _places(folder)
    if given is not None:
        content = data_content(given, run["data"])
        run["data"] = {**content, "test": None} if content["kind"] == "h5" else content
    run["data"]["preparation"] = config.preparation.model_dump()
    found = absolute(parse_config({**run, "select": "last"}, "The data")).data
    gone = [str(value) for _, value in found if isinstance(value, Path) and not value.exists()]
    if gone and given is None:
        raise UserError("The adapter's own data are not here", got=gone[0], remedy="Say where they are with --data")
    return found


def _places(folder: Path) -> dict[str, Any]:
    """Return where the run beside an adapter found its data; the adapter itself tells no paths of this machine."""
    from ...core.config import read_yaml

    for name in (CONFIG_NAME, "run.json"):  # JSON is YAML
        path = folder.absolute().parent / name
        if path.is_file():
            content = read_yaml(path)
            data = content.get("config", content).get("data", {})
            return {key: data[key] for key in ("path", "train", "test", "classes") if key in data}
    return {}


def _part(dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    chosen = [part for name, part in parts.items() if part is not None and split in (name, "all")]
    if not chosen:
        there = [name for name, part in parts.items() if part is not None]
        raise UserError(
            f"This data set has no {split} clouds",
            expected=f"one of {', '.join(there)}",
            remedy="Choose it with --split",
        )
    return np.concatenate([part.points for part in chosen]), np.concatenate([part.labels for part in chosen])


def _as_trained(labels: np.ndarray, classes: tuple[str, ...], trained: tuple[str, ...]) -> np.ndarray:
    """Return the labels as numbers of the adapter's classes, which are matched by name."""
    import numpy as np

    strange = [name for name in classes if name not in trained]
    if strange:
        raise UserError(
            "The adapter does not know these classes", got=strange[:5], expected=f"some of {', '.join(trained)}"
        )
    return np.array([trained.index(name) for name in classes], dtype=np.int64)[labels]


def _score(predictor: Any, points: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    import torch

    from ...core.training.evaluate import score

    device = predictor.device
    found = score(
        predictor.model,
        torch.from_numpy(points).to(device),
        torch.from_numpy(labels).long().to(device),
        len(predictor.classes),
        "test",
    )
    return {
        "accuracy": found.accuracy,
        "loss": found.loss,
        "mean_class_accuracy": found.mean_class_accuracy,
        "per_class": dict(zip(predictor.classes, found.per_class)),
        "confusion": found.confusion,
    }


def _show(scores: dict[str, Any]) -> None:
    click.echo(f"{scores['split']}: {scores['clouds']} clouds of {scores['data']}")
    click.echo(
        f"accuracy {percent(scores['accuracy'])}, mean of classes {percent(scores['mean_class_accuracy'])}, "
        f"loss {scores['loss']:.4f}\n"
    )
    confusion = scores["confusion"]
    rows = [
        (str(i), name, str(sum(confusion[i])), percent(scores["per_class"][name]), _mistakes(scores, i))
        for i, name in enumerate(scores["classes"])
    ]
    click.echo(table(("", "class", "clouds", "right", "called instead"), rows))
    click.echo("\nConfusion (row: true class, column: answer)")
    width = max(len(str(n)) for row in confusion for n in (*row, len(confusion)))
    click.echo(" " * (width + 1) + " ".join(str(i).rjust(width) for i in range(len(confusion))))
    for i, row in enumerate(confusion):
        click.echo(f"{i:>{width}} " + " ".join(("." if not n else str(n)).rjust(width) for n in row))


def _mistakes(scores: dict[str, Any], label: int) -> str:
    row = scores["confusion"][label]
    wrong = sorted(((count, i) for i, count in enumerate(row) if count and i != label), key=lambda pair: -pair[0])
    return ", ".join(f"{scores['classes'][i]} {count}" for count, i in wrong[:3])
