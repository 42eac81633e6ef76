"""The card of a pushed adapter: what the local one says, and results that the Hub reads, pictures, papers and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .. import card
from ..adapters import AdapterConfig
from ..config import RunConfig
from ..errors import UserError
from ..models.load import source_of
from . import pictures
from .history import History
from .papers import cited

PICTURES = "pictures"
"""The folder of a card's pictures in the repository."""
_TASKS = {"images": ("image-classification", "Image classification")}


@dataclass(frozen=True)
class Card:
    """README.md, and the files that it shows by their paths in the repository."""

    text: str
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])


def make_card(config: AdapterConfig, history: History, name: str, *, command: str = "", licence: str = "") -> Card:
    """Return the card of an adapter that goes to `name`; `command` is what trains it again."""
    plain = config.model_dump()
    files = _pictures(config, history)
    run = config.merged_from or config.run
    lines = [
        f"# {card.title(plain)}",
        "",
        _summary(config, name),
        "",
        *card.merged(plain),
        *card.usage(plain, name),
        "",
        "Both need Pointsmith (`pip install .` in its folder); a backbone that is not here yet is fetched once.",
        "",
        "## What it is",
        "",
        *card.facts(plain),
        *_cost(history),
        "",
        *_results(config, files),
        *_trained(run, files, command),
        *_routing(history, files),
        *_papers(config, licence or card.LICENCE),
    ]
    front = _front(config, name, licence or card.LICENCE)
    return Card(f"---\n{front}\n---\n\n" + "\n".join(lines), files)


def told_results(text: str) -> dict[str, float]:
    """Return {split: score} that the card of a repository tells the Hub. UserError for a card that cannot be read."""
    try:
        data: Any = ModelCard(text, ignore_metadata_errors=False).data
    except Exception as error:  # yaml's, the library's own, and missing keys of a hand-edited card
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"The card's results cannot be read ({reason})", remedy="Push the adapter again") from error
    found: dict[str, float] = {}
    results = cast("list[EvalResult]", getattr(data, "eval_results", None) or [])
    for result in results:
        if result.metric_type in ("accuracy", "mean_iou") and isinstance(result.metric_value, (int, float)):
            found[str(result.dataset_split)] = float(cast("float", result.metric_value))
    return found


def _front(config: AdapterConfig, name: str, licence: str) -> str:
    """Return the metadata that the Hub reads, as YAML."""
    run, images = config.run, config.run.backbone.modality == "images"
    repository = source_of(run.backbone).repository if run.backbone.weights in ("pretrained", "included") else None
    whole: Literal["finetune", "adapter"] = "finetune" if run.backbone.weights == "included" else "adapter"
    relation: Literal["merge", "finetune", "adapter"] = "merge" if config.merged_from else whole
    data: Any = ModelCardData(
        library_name=config.library_name,
        license=licence,
        tags=card.tags(config.model_dump()),
        base_model=[repository] if repository else None,
        base_model_relation=relation if repository else None,
        pipeline_tag="image-classification" if images else None,
        datasets=_hub_data(run),
        metrics=["accuracy"] if _metric(config) == "accuracy" else None,
        model_name=name.split("/")[-1],
        eval_results=list(_eval_results(config)) or None,
    )
    return str(data.to_yaml()).strip()


def _hub_data(run: RunConfig) -> list[str] | None:
    """Return the data set of the Hub that a run used, None where its data were no such."""
    found = getattr(run.data, "repository", None)
    on_hub = isinstance(found, str) and found.count("/") == 1 and not found.startswith((".", "~", "/"))
    return [str(found)] if on_hub else None


def _metric(config: AdapterConfig) -> str:
    return str(config.metrics.get("metric") or "accuracy")


def _scores(config: AdapterConfig) -> list[dict[str, Any]]:
    return list(config.metrics.get("scores") or [])


def _judged(config: AdapterConfig) -> dict[str, Any] | None:
    """Return the scores on the test part, or where there is none on the validation part."""
    known = {str(one["split"]): one for one in _scores(config)}
    return known.get("test") or known.get("validation")


def _eval_results(config: AdapterConfig) -> Iterable[EvalResult]:
    task, task_name = _TASKS.get(config.run.backbone.modality, ("other", "Point cloud classification"))
    if config.part_names:
        task_name = "Part segmentation of point clouds"
    kind, name = ("mean_iou", "instance mIoU") if _metric(config) == "mIoU" else ("accuracy", "accuracy")
    known = {str(one["split"]): one["accuracy"] for one in _scores(config)}
    for split in ("test", "validation"):
        value = known.get(split, config.metrics.get(f"{split}_accuracy"))
        if value is None:
            continue
        optimistic = split == "test" and config.metrics.get("selected_on") == "test"
        yield EvalResult(
            task_type=task,
            task_name=task_name,
            dataset_type=config.run.data.kind,
            dataset_name=_data_name(config),
            dataset_split=split,
            metric_type=kind,
            metric_name=f"{name} (epoch chosen on the test set: optimistic)" if optimistic else name,
            metric_value=float(value),
        )


def _data_name(config: AdapterConfig) -> str:
    data = config.run.data
    path = getattr(data, "path", None)
    return f"{data.kind} ({path})" if path is not None else data.kind


def _summary(config: AdapterConfig, name: str) -> str:
    """Return the first sentence: what it tells of what, how well, and on what it stands."""
    metrics = config.metrics
    said = f"`{name}` was fine-tuned with Pointsmith on the backbone `{config.backbone.kind}`"
    said += f" ({config.backbone.origin}), by `{config.adapter_type}`, on the data set `{_data_name(config)}`."
    if metrics.get("test_accuracy") is not None:
        said += f" Its test {_metric(config)} is **{100 * metrics['test_accuracy']:.2f} %**."
    return said


def _cost(history: History) -> list[str]:
    """Return rows of what the training needed, as it was measured."""
    rows: list[str] = []
    where = str(history.plan.get("device") or "")
    if history.peak_bytes:
        what = "allocated on the GPU" if where.startswith("cuda") else "of the whole process"
        rows.append(f"| Peak memory in training | {history.peak_bytes / 1e6:,.0f} MB, {what} |")
    if history.seconds:
        device = f" on `{where}`, {history.plan.get('precision')}" if where else ""
        rows.append(f"| Training took | {history.seconds:,.0f} s{device} |")
    if history.plan:
        counts = " / ".join(str(history.plan[f"{part}_clouds"]) for part in ("train", "validation", "test"))
        rows.append(f"| Training / validation / test {history.plan.get('noun', 'clouds')} | {counts} |")
    return rows


def _results(config: AdapterConfig, files: dict[str, bytes]) -> list[str]:
    scores = _judged(config)
    if scores is None:
        return []
    lines = [f"## Results ({scores['split']})", ""]
    lines += [f"Mean over classes {100 * scores['mean_class_accuracy']:.2f} %, loss {scores['loss']:.4f}.", ""]
    lines += _shown(files, "confusion", "Confusion matrix")
    rows = [
        f"| {name} | {'–' if value is None else f'{100 * value:.1f} %'} |"
        for name, value in zip(config.classes, scores["per_class"])
    ]
    title = "mIoU by category" if config.part_names else "Accuracy by class"
    table = ["| | |", "|---|---:|", *rows]
    return [*lines, "<details>", f"<summary>{title}</summary>", "", *table, "", "</details>", ""]


def _trained(run: RunConfig, files: dict[str, bytes], command: str) -> list[str]:
    lines = ["## How it was trained", "", *_shown(files, "curves", "Loss and accuracy by epoch")]
    if command:
        lines += ["```bash", command, "```", ""]
    yaml = ["```yaml", run.to_yaml().strip(), "```"]
    told = "`pointsmith train --config` with this YAML trains it again."
    return [
        *lines,
        "<details>",
        "<summary>The whole configuration</summary>",
        "",
        *yaml,
        "",
        told,
        "",
        "</details>",
        "",
    ]


def _routing(history: History, files: dict[str, bytes]) -> list[str]:
    shown = _shown(files, "routing", "Share of sub-tokens that each expert of each block is chosen for")
    if not shown:
        return []
    said = (
        f"Where the router sends the sub-tokens of {history.routed.get('inputs')} fixed inputs after epoch "
        f"{history.routed.get('epoch')}; rows are blocks, columns experts."
    )
    return ["## Routing", "", said, "", *shown]


def _papers(config: AdapterConfig, licence: str) -> list[str]:
    run = config.merged_from or config.run
    found = cited(run.method.kind, config.backbone.kind)
    lines = ["## Licence and citation", "", f"This adapter: `{licence}`. The backbone and the data have their own."]
    if config.backbone.kind == "demo":
        lines[-1] += " The demo backbone was pre-trained by Pointsmith and is Apache-2.0."
    if not found:
        return [*lines, ""]
    listed = [f"* {what}: {paper.line()}" for what, paper in found]
    entries = ["```bibtex", *(paper.bibtex() for paper in dict.fromkeys(paper for _, paper in found)), "```"]
    return [*lines, "", *listed, "", *entries, ""]


def _shown(files: dict[str, bytes], name: str, said: str) -> list[str]:
    path = f"{PICTURES}/{name}.png"
    return [f"![{said}]({path})", ""] if path in files else []


def _pictures(config: AdapterConfig, history: History) -> dict[str, bytes]:
    scores = _judged(config) or {}
    drawn: dict[str, Callable[[], bytes | None]] = {
        "curves": lambda: pictures.curves(_charts(config, history)),
        "confusion": lambda: pictures.confusion(config.classes, scores.get("confusion") or ()),
        "routing": lambda: pictures.loads(history.routed.get("load") or ()),
    }
    made = {name: draw() for name, draw in drawn.items()}
    return {f"{PICTURES}/{name}.png": content for name, content in made.items() if content is not None}


def _charts(config: AdapterConfig, history: History) -> list[pictures.Chart]:
    per_epoch = int(history.plan.get("steps_per_epoch") or 1)
    steps = sorted(history.steps.items())
    title = "mIoU" if _metric(config) == "mIoU" else "Accuracy"
    return [
        pictures.Chart(
            "Loss",
            [
                pictures.Line("training, each step", [s / per_epoch for s, _ in steps], [y for _, y in steps]),
                _by_epoch("validation", history, "validation_loss"),
            ],
        ),
        pictures.Chart(
            title,
            [
                _by_epoch("training", history, "train_accuracy"),
                _by_epoch("validation", history, "validation_accuracy"),
                _by_epoch("test", history, "test_accuracy"),
            ],
            top=1.0,
            share=True,
        ),
    ]


def _by_epoch(name: str, history: History, key: str) -> pictures.Line:
    known = [(epoch, one[key]) for epoch, one in sorted(history.epochs.items()) if one.get(key) is not None]
    return pictures.Line(name, [float(epoch) for epoch, _ in known], [float(value) for _, value in known])
