"""What `predict` and `evaluate` print for an adapter that tells the parts of objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import percent, print_json, table

if TYPE_CHECKING:
    import numpy as np

    from ...core.data.dataset import Dataset, Split
    from ...core.predict import Predictor, Segmentation


def predict_parts(
    predictor: Predictor, clouds: Sequence[tuple[str, np.ndarray]], category: str | None, raw: bool, as_json: bool
) -> None:
    """Print the part of every point of named clouds, or how many points each part has."""
    if category is None:
        category = predictor.classes[0]
        if len(predictor.classes) > 1:
            click.echo(f"warning: no --category was given, so each cloud is taken for: {category}", err=True)
    names = [name for name, _ in clouds]
    found = predictor.segment([points for _, points in clouds], category, raw=raw, names=names)
    if as_json:
        print_json([_plain(name, one) for name, one in zip(names, found)])
        return
    for name, one in zip(names, found):
        shares = [f"{part} {percent(float((one.parts == i).mean()))}" for i, part in enumerate(one.part_names)]
        click.echo(f"{name} ({one.category}): {', '.join(shares)} of {len(one.parts):,} points")


def _plain(name: str, one: Segmentation) -> dict[str, Any]:
    return {
        "cloud": name,
        "category": one.category,
        "part_names": list(one.part_names),
        "parts": one.parts.tolist(),
        "probabilities": one.probabilities.tolist(),
        "logits": one.logits.tolist(),
    }


def score_parts(predictor: Predictor, dataset: Dataset, splits: Sequence[Split]) -> dict[str, Any]:
    """Return the scores of splits taken together; categories and parts are matched by their names."""
    from ...core.data.part_clouds import PartClouds, joined, judged, renumbered
    from ...core.training.task import PartTask

    config = predictor.config
    count = getattr(config.preparation, "points", 0)
    known = {(name, part): None for name, own in zip(config.classes, config.part_names) for part in own}
    strange = [
        f"{name}: {part}"
        for name, own in zip(dataset.classes, dataset.part_names)
        for part in own
        if (name, part) not in known
    ]
    if strange or not dataset.part_names:
        raise UserError(
            "The adapter does not know these parts",
            got=strange[:5] or "points without labels",
            expected=f"parts of {', '.join(config.classes)}",
        )
    clouds = joined([judged(one, count) for one in splits if isinstance(one, PartClouds)])
    clouds = renumbered(clouds, (dataset.classes, dataset.part_names), (config.classes, config.part_names))
    task = PartTask(config.part_names)
    found = task.score(predictor.model, clouds.feed(predictor.device), "test")
    shares = iter(found.per_part)
    return {
        "metric": found.metric,
        "instance_miou": found.accuracy,
        "class_miou": found.mean_class_accuracy,
        "point_accuracy": found.point_accuracy,
        "loss": found.loss,
        "per_class": dict(zip(config.classes, found.per_class)),
        "per_part": {
            name: {part: next(shares) for part in own} for name, own in zip(config.classes, config.part_names)
        },
    }


def show_parts(scores: dict[str, Any], noun: str) -> None:
    """Print what `score_parts` found."""
    click.echo(f"{scores['split']}: {scores[noun]} {noun} of {scores['data']}")
    click.echo(
        f"instance mIoU {percent(scores['instance_miou'])}, class mIoU {percent(scores['class_miou'])}, "
        f"points right {percent(scores['point_accuracy'])}, loss {scores['loss']:.4f}\n"
    )
    rows = [
        (name, percent(value), ", ".join(f"{part} {percent(iou)}" for part, iou in scores["per_part"][name].items()))
        for name, value in scores["per_class"].items()
        if value is not None
    ]
    click.echo(table(("category", "mIoU", "IoU of its parts, where they are"), rows))
