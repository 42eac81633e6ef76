"""The model card of an adapter: what it is, how it was made, how well it did, how to load it."""

from __future__ import annotations

from typing import Any

import yaml

LICENCE = "apache-2.0"
"""Of an adapter whose maker says no other."""


def render(config: dict[str, Any], run_yaml: str) -> str:
    """Return the README.md of an adapter from its config (as plain data) and the run's YAML."""
    front = {"library_name": config["library_name"], "tags": tags(config), "license": LICENCE}
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False).strip(),
        "---",
        "",
        f"# {title(config)}",
        "",
        f"Fine-tuned with Pointsmith on the backbone `{config['backbone']['kind']}` ({config['backbone']['origin']}).",
        "",
        *facts(config),
        "",
        *merged(config),
        *usage(config, "PATH_OF_THIS_FOLDER"),
        "",
        "## How it was trained",
        "",
        "```yaml",
        run_yaml.strip(),
        "```",
        "",
        "`pointsmith train --config` with this YAML trains it again.",
        "",
    ]
    return "\n".join(lines)


def title(config: dict[str, Any]) -> str:
    """Return what the adapter is, as a heading."""
    return f"{config['adapter_type']} adapter for {_extent(config)}"


def tags(config: dict[str, Any]) -> list[str]:
    """Return the words by which the adapter is found: what it does, its method, its backbone."""
    about = ["image-classification"] if _sees_images(config) else ["point-cloud", "3d"]
    parts = ["part-segmentation"] if config["part_names"] else []
    return [*about, *parts, "adapter", config["adapter_type"], config["backbone"]["kind"]]


def facts(config: dict[str, Any]) -> list[str]:
    """Return the lines of a table: classes, sizes, preparation, hashes, results."""
    backbone, names = config["backbone"], config["part_names"]
    trainable, total = config["trainable_parameters"], config["total_parameters"]
    return [
        "| | |",
        "|---|---|",
        f"| {'Categories' if names else 'Classes'} | {', '.join(config['classes'])} |",
        *(f"| Parts of {name} | {', '.join(own)} |" for name, own in zip(config["classes"], names)),
        f"| Trainable parameters | {trainable:,} of {total:,} ({100 * trainable / total:.2f} %) |",
        _prepared(config["preparation"]),
        f"| Backbone hash | `{backbone['sha256'] or 'included'}` |",
        f"| Data fingerprint | `{config['dataset_fingerprint'] or 'unknown'}` |",
        *_metrics(config["metrics"]),
    ]


def usage(config: dict[str, Any], place: str) -> list[str]:
    """Return the lines that say how to predict with the adapter at `place`, a folder or an id of the Hub."""
    file, given = _example(config)
    return [
        "## Use it",
        "",
        "```bash",
        f"pointsmith predict {place} {file}",
        "```",
        "",
        "```python",
        "from pointsmith.core.predict import Predictor",
        f'predictor = Predictor.load("{place}")',
        f"print(predictor.{given}",
        "```",
    ]


def _extent(config: dict[str, Any]) -> str:
    """Return what the adapter tells apart, in numbers."""
    parts, classes = sum(map(len, config["part_names"])), len(config["classes"])
    return f"{parts} parts of {classes} categories" if parts else f"{classes} classes"


def _sees_images(config: dict[str, Any]) -> bool:
    return "size" in config["preparation"]


def _example(config: dict[str, Any]) -> tuple[str, str]:
    """Return a file's name, and the rest of a call of `predict`, for what the adapter reads."""
    if _sees_images(config):
        return "photo.jpg", 'predict(["photo.jpg"])[0].label)'
    shape = "  # points: array of shape (N, 3)"
    if config["part_names"]:
        category = str(config["classes"][0])
        return f"cloud.ply --category '{category}'", f'segment([points], "{category}")[0].parts){shape}'
    return "cloud.ply", f"predict([points])[0].label){shape}"


def _prepared(how: dict[str, Any]) -> str:
    if "size" in how:
        return f"| Images | {how['size']} × {how['size']} pixels ({how['resize']}), normalised: {how['normalize']} |"
    return f"| Points per cloud | {how['points']}, normalised: {how['normalize']} |"


def merged(config: dict[str, Any]) -> list[str]:
    """Return the lines that say of a merged adapter what it is; none of another."""
    if not config["merged_from"]:
        return []
    before = config["merged_from"]["method"]["kind"]
    return [
        f"This is a `{before}` adapter whose foldable parts are now inside the backbone, which is included: the same "
        "answers at less cost. It cannot be taken off again.",
        "",
    ]


def _metrics(metrics: dict[str, Any]) -> list[str]:
    rows: list[str] = []
    metric = metrics.get("metric", "accuracy")
    if metrics.get("test_accuracy") is not None:
        rows.append(f"| Test {metric} | {100 * metrics['test_accuracy']:.2f} % |")
    if metrics.get("validation_accuracy") is not None:
        rows.append(f"| Validation {metric} | {100 * metrics['validation_accuracy']:.2f} % |")
    if metrics.get("selected_on"):
        how = {
            "validation": "best on validation; the test set was used once, at the end",
            "last": "the last one",
            "test": f"best on the TEST set (the papers' protocol: the test {metric} is optimistic)",
        }[metrics["selected_on"]]
        rows.append(f"| Epoch kept | {metrics.get('best_epoch')} of {metrics.get('epochs')}: {how} |")
    if metrics.get("peak_memory_bytes"):
        where = "tensors on the GPU" if metrics.get("device") == "cuda" else "the whole process"
        peak = f"{metrics['peak_memory_bytes'] / 2**30:.2f} GiB ({where})"
        rows.append(f"| Memory of training, at most | {peak}, `memory: {metrics.get('memory')}` |")
    return rows
