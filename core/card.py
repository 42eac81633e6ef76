"""The model card of an adapter: what it is, how it was made, how well it did, how to load it."""

from __future__ import annotations

from typing import Any

import yaml


def render(config: dict[str, Any], run_yaml: str) -> str:
    """Return the README.md of an adapter from its config (as plain data) and the run's YAML."""
    backbone, method = config["backbone"], config["adapter_type"]
    own = ["adapter", method, backbone["kind"]]
    file, given = _example(config)
    names = config["part_names"]
    front = {
        "library_name": config["library_name"],
        "tags": [*_about(config), *own],
        "license": "apache-2.0",
    }
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False).strip(),
        "---",
        "",
        f"# {method} adapter for {_extent(config)}",
        "",
        f"Fine-tuned with Pointsmith on the backbone `{backbone['kind']}` ({backbone['origin']}).",
        "",
        "| | |",
        "|---|---|",
        f"| {'Categories' if names else 'Classes'} | {', '.join(config['classes'])} |",
        *(f"| Parts of {name} | {', '.join(own)} |" for name, own in zip(config["classes"], names)),
        f"| Trainable parameters | {config['trainable_parameters']:,} of {config['total_parameters']:,} "
        f"({100 * config['trainable_parameters'] / config['total_parameters']:.2f} %) |",
        _prepared(config["preparation"]),
        f"| Backbone hash | `{backbone['sha256'] or 'included'}` |",
        f"| Data fingerprint | `{config['dataset_fingerprint'] or 'unknown'}` |",
        *_metrics(config["metrics"]),
        "",
        *_merged(config),
        "## Use it",
        "",
        "```bash",
        f"pointsmith predict PATH_OF_THIS_FOLDER {file}",
        "```",
        "",
        "```python",
        "from pointsmith.core.predict import Predictor",
        'predictor = Predictor.load("PATH_OF_THIS_FOLDER")',
        f"print(predictor.{given}",
        "```",
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


def _about(config: dict[str, Any]) -> list[str]:
    """Return the tags of what the adapter does."""
    if _sees_images(config):
        return ["image-classification"]
    return ["point-cloud", "3d", *(["part-segmentation"] if config["part_names"] else [])]


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


def _merged(config: dict[str, Any]) -> list[str]:
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
    return rows
