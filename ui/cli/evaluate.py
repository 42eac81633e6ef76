"""`pointsmith evaluate`: how well an adapter does on labelled clouds or images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import UserError
from .output import percent, print_json, table
from .parts import score_parts, show_parts
from .session import CONFIG_NAME

if TYPE_CHECKING:
    from torch import Tensor

    from ...core.adapters import AdapterConfig
    from ...core.data.config import DataConfig
    from ...core.data.dataset import Dataset, Split
    from ...core.predict import Predictor

PARTS = ("test", "validation", "train", "all")


@click.command()
@click.argument("folder", metavar="ADAPTER", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="KIND|PATH",
    help="A kind, a folder, .zip, .h5 or list of images.  [default: what it was trained with]",
)
@click.option("--split", type=click.Choice(PARTS), help="Which part.  [default: test; all of an .h5 file or list]")
@click.option(
    "--vote", type=click.IntRange(min=2), metavar="N", help="ModelNet40: average N random views (papers: 10)."
)
@click.option("--seed", default=0, type=click.IntRange(min=0), show_default=True, help="Seed of the views.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--backbone-weights", metavar="PATH", help="The backbone's weight file, where it lies elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    folder: Path,
    data: str | None,
    split: str | None,
    vote: int | None,
    seed: int,
    device: str,
    backbone_weights: str | None,
    as_json: bool,
) -> None:
    """Print accuracy, accuracy per class and the confusion matrix of an ADAPTER folder; where it tells parts, mIoU.

    With --vote the answers to N views of each test cloud are averaged, in one pass, and the accuracy without is shown
    beside; the papers' code repeats this 299 times and reports the maximum, which is never done here.

    \b
    Example:
      pointsmith evaluate runs/demo/adapter
      pointsmith evaluate runs/scans/adapter --data more_scans/ --split all
      pointsmith evaluate runs/modelnet/adapter --vote 10
    """
    from ...core.data.load import load
    from ...core.hub.pull import open_adapter
    from ...core.predict import Predictor
    from .pull import pulled_if_named

    place = pulled_if_named(folder)
    predictor = Predictor(open_adapter(place, backbone_weights=backbone_weights), device)
    chosen = data_for(place, predictor.config, data)
    if split is None:
        split = "all" if _is_one_file(chosen) else "test"
    if vote:
        _check_vote(chosen, split)
    least = predictor.config.run.backbone.least_points
    dataset = load(chosen, least=least, pooled_test=vote is not None)
    parts, noun = _as_judged(_parts(dataset, split), chosen), dataset.train.noun
    numbers = [] if predictor.answers == "parts" else _as_trained(dataset.classes, predictor.classes)
    notes = list(dataset.notes)
    if data is None and dataset.fingerprint != predictor.config.dataset_fingerprint:
        notes.append(f"warning: these are not the {noun} that the adapter was trained and tested with")
    for note in notes:
        click.echo(note, err=True)
    scores = (
        score_parts(predictor, dataset, parts) if predictor.answers == "parts" else _score(predictor, parts, numbers)
    )
    count = sum(len(part) for part in parts)
    scores = {"data": chosen.kind, "split": split, noun: count, **scores, "classes": list(predictor.classes)}
    if vote and dataset.test is not None:
        scores = _voted(predictor, dataset.test, numbers, (vote, seed), scores)
    if as_json:
        print_json(scores)
    elif predictor.answers == "parts":
        show_parts(scores, noun)
    else:
        _show(scores, noun)


def data_for(folder: Path, config: AdapterConfig, given: str | None) -> DataConfig:
    """Return the data to score on: those given, prepared as the adapter's own were, or the adapter's own."""
    from ...core.config import parse_config
    from .run_options import absolute, data_content

    run: dict[str, Any] = config.run.model_dump(mode="json")
    run["data"] |= _places(folder)
    if given is not None:
        run["data"] = data_content(given, run["data"])
        _require_modality(config, given, run["data"]["kind"])
        if run["data"]["kind"] in ("h5", "images"):
            run["data"]["test"] = None
        if given.lower().endswith((".csv", ".txt")):  # a list given here is there to be scored, all of it
            run["data"] |= {"test_share": 0.0, "validation": 0.0}
    run["data"]["preparation"] = config.preparation.model_dump()
    found = absolute(parse_config({**run, "select": "last"}, "The data")).data
    gone = [str(value) for _, value in found if isinstance(value, Path) and not value.exists()]
    if gone and given is None:
        raise UserError("The adapter's own data are not here", got=gone[0], remedy="Say where they are with --data")
    return found


def _require_modality(config: AdapterConfig, given: str, kind: str) -> None:
    from ...core.config import choices

    reads, found = config.run.backbone.modality, getattr(choices("data")[kind], "modality", "points")
    if found != reads:
        raise UserError(
            f"This adapter reads {reads}, and these data are {found}", got=given, expected=f"data of {reads}"
        )
    answers, labelled = config.run.data.answers, getattr(choices("data")[kind], "answers", "classes")
    if labelled != answers:
        raise UserError(f"This adapter tells {answers}, and these data are labelled with {labelled}", got=given)


def _places(folder: Path) -> dict[str, Any]:
    """Return where the run beside an adapter found its data; the adapter itself tells no paths of this machine."""
    from ...core.config import read_inherited

    for name in (CONFIG_NAME, "run.json"):  # JSON is YAML
        path = folder.absolute().parent / name
        if path.is_file():
            content = read_inherited(path)
            data = content.get("config", content).get("data", {})
            return {key: data[key] for key in ("path", "base", "train", "test", "classes") if key in data}
    return {}


def _is_one_file(data: DataConfig) -> bool:
    """Return whether the data are one file of labelled inputs without a test part of their own."""
    from ...core.data.config import H5Data, ImagesData

    if isinstance(data, H5Data):
        return data.test is None
    return isinstance(data, ImagesData) and data.test is None and data.path.suffix.lower() in (".csv", ".txt")


def _parts(dataset: Dataset, split: str) -> list[Split]:
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    chosen = [part for name, part in parts.items() if part is not None and split in (name, "all")]
    if not chosen:
        there = [name for name, part in parts.items() if part is not None]
        raise UserError(
            f"This data set has no {split} {dataset.train.noun}",
            expected=f"one of {', '.join(there)}",
            remedy="Choose it with --split",
        )
    return chosen


def _as_trained(classes: tuple[str, ...], trained: tuple[str, ...]) -> list[int]:
    """Return the number that the adapter knows each class by; classes are matched by name."""
    strange = [name for name in classes if name not in trained]
    if strange:
        raise UserError(
            "The adapter does not know these classes", got=strange[:5], expected=f"some of {', '.join(trained)}"
        )
    return [trained.index(name) for name in classes]


def _check_vote(data: DataConfig, split: str) -> None:
    from ...core.training.voting import require_votable

    require_votable(data)
    if split != "test":
        raise UserError("Votes are on the test clouds", got=split, remedy="Leave --split out")


def _as_judged(parts: list[Split], data: DataConfig) -> list[Split]:
    """Return the parts with as many points a cloud as the model sees: training and voted clouds have more."""
    from ...core.data.clouds import Clouds
    from ...core.data.config import BenchmarkData
    from ...core.data.thin import thinned

    if not isinstance(data, BenchmarkData):
        return parts
    return [thinned(part, data, "judge") if isinstance(part, Clouds) else part for part in parts]


def _voted(
    predictor: Predictor, test: Split, numbers: list[int], votes_and_seed: tuple[int, int], single: dict[str, Any]
) -> dict[str, Any]:
    """Return the scores of averaged answers, said to be voted, with those of one answer a cloud beside."""
    import torch

    from ...core.data.clouds import Clouds, Preparation
    from ...core.training.voting import vote

    (votes, seed), preparation = votes_and_seed, predictor.config.preparation
    if not isinstance(test, Clouds) or not isinstance(preparation, Preparation):
        raise UserError("Only clouds can be voted on")
    logits = vote(predictor.model, test, preparation.points, votes=votes, seed=seed, device=predictor.device)
    labels = torch.tensor(numbers, device=predictor.device)[torch.from_numpy(test.labels).to(predictor.device)]
    beside = {key: single[key] for key in ("accuracy", "mean_class_accuracy", "loss")}
    protocol = {"protocol": "voted", "votes": votes, "seed": seed, "single_pass": beside}
    return {**single, **_described(predictor, logits, labels), **protocol}


def _score(predictor: Predictor, parts: list[Split], numbers: list[int]) -> dict[str, Any]:
    import torch

    from ...core.training.evaluate import predict_logits

    feeds = [part.feed(predictor.device) for part in parts]
    logits = torch.cat([predict_logits(predictor.model, feed) for feed in feeds])
    labels = torch.tensor(numbers, device=predictor.device)[torch.cat([feed.labels for feed in feeds])]
    return _described(predictor, logits, labels)


def _described(predictor: Predictor, logits: Tensor, labels: Tensor) -> dict[str, Any]:
    from ...core.training.evaluate import score_logits

    found = score_logits(logits, labels, len(predictor.classes), "test")
    return {
        "accuracy": found.accuracy,
        "loss": found.loss,
        "mean_class_accuracy": found.mean_class_accuracy,
        "per_class": dict(zip(predictor.classes, found.per_class)),
        "confusion": found.confusion,
    }


def _show(scores: dict[str, Any], noun: str) -> None:
    click.echo(f"{scores['split']}: {scores[noun]} {noun} of {scores['data']}")
    if "votes" in scores:
        click.echo(
            f"VOTED: {scores['votes']} views of each cloud averaged, one pass, seed {scores['seed']}; without voting "
            f"accuracy {percent(scores['single_pass']['accuracy'])}"
        )
    click.echo(
        f"accuracy {percent(scores['accuracy'])}, mean of classes {percent(scores['mean_class_accuracy'])}, "
        f"loss {scores['loss']:.4f}\n"
    )
    confusion = scores["confusion"]
    rows = [
        (str(i), name, str(sum(confusion[i])), percent(scores["per_class"][name]), _mistakes(scores, i))
        for i, name in enumerate(scores["classes"])
    ]
    click.echo(table(("", "class", noun, "right", "called instead"), rows))
    click.echo("\nConfusion (row: true class, column: answer)")
    width = max(len(str(n)) for row in confusion for n in (*row, len(confusion)))
    click.echo(" " * (width + 1) + " ".join(str(i).rjust(width) for i in range(len(confusion))))
    for i, row in enumerate(confusion):
        click.echo(f"{i:>{width}} " + " ".join(("." if not n else str(n)).rjust(width) for n in row))


def _mistakes(scores: dict[str, Any], label: int) -> str:
    row = scores["confusion"][label]
    wrong = sorted(((count, i) for i, count in enumerate(row) if count and i != label), key=lambda pair: -pair[0])
    return ", ".join(f"{scores['classes'][i]} {count}" for count, i in wrong[:3])
