"""Adapters on disk: two familiar files, a small config for the Hub's counters, and a card.

`adapter_model.safetensors` holds what the backbone's own file does not; `adapter_config.json` all it takes to load it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, StringConstraints, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from . import card
from .bounded_text import read_json
from .building import Built, build
from .config import RunConfig
from .data.clouds import Preparation
from .data.config import with_paths
from .data.picture import ImagePreparation
from .errors import UserError
from .events import Scores
from .schema import Config, explain, is_mapping

FORMAT_VERSION = 1
MAX_CLASSES = 10_000
CONFIG_BYTES = 4 << 20
Word = Annotated[str, StringConstraints(max_length=200)]
"""A name or a note in a config; longer ones are refused."""
Names = Annotated[tuple[Word, ...], Field(max_length=MAX_CLASSES)]
WEIGHTS_NAME, CONFIG_NAME = "adapter_model.safetensors", "adapter_config.json"


class BackboneOrigin(Config):
    """Which weights the adapter was trained on; the hash is over names, shapes and values, not over a file."""

    kind: Word
    origin: Word
    sha256: Word


class AdapterConfig(Config):
    """Everything needed to load an adapter and to judge it."""

    format_version: int = FORMAT_VERSION
    library_name: Word = "pointsmith"
    adapter_type: Word
    run: RunConfig
    merged_from: RunConfig | None = None
    """The run that was trained, where parts of its method have been folded into the backbone since."""
    classes: Annotated[Names, Field(min_length=1)]
    part_names: Annotated[tuple[Names, ...], Field(max_length=MAX_CLASSES)] = ()
    """The parts of each class's objects, where points are labelled."""
    preparation: Preparation | ImagePreparation
    backbone: BackboneOrigin
    dataset_fingerprint: Word = ""
    trainable_parameters: int = Field(ge=0, le=2**62)
    total_parameters: int = Field(ge=1, le=2**62)
    metrics: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Results as the maker tells them, see `typed_metrics`."""

    @field_validator("metrics", mode="before")
    @classmethod
    def _typed(cls, metrics: Any) -> dict[str, Any]:
        return typed_metrics(metrics)


_SHARES = ("test_accuracy", "validation_accuracy")
_COUNTS = ("best_epoch", "epochs", "peak_memory_bytes")
_WORDS = ("metric", "memory", "device")
_SELECTIONS = ("validation", "last", "test")


def typed_metrics(metrics: Any) -> dict[str, Any]:
    """Return the known entries of an adapter's metrics that have their type; what has another is left out."""
    content: dict[str, Any] = metrics if is_mapping(metrics) else {}
    scores: Any = content.get("scores")
    typed = {
        **{key: content[key] for key in _SHARES if _is_number(content.get(key), 1)},
        **{key: content[key] for key in _COUNTS if type(content.get(key)) is int and 0 <= content[key] <= 2**62},
        **{key: content[key] for key in _WORDS if isinstance(content.get(key), str) and len(content[key]) <= 200},
    }
    if content.get("selected_on") in _SELECTIONS:
        typed["selected_on"] = content["selected_on"]
    if isinstance(scores, list):
        typed["scores"] = [score for score in scores[:10] if _is_scores(score)]  # pyright: ignore[reportUnknownVariableType]
    return typed


def _is_number(value: Any, most: int) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= most


def _is_scores(content: Any) -> bool:
    try:
        scores = Scores.model_validate(content)
    except ValidationError:
        return False
    return _is_number(scores.accuracy, 1)


@dataclass(frozen=True)
class Adapter:
    """A loaded adapter: its config and a model in evaluation mode."""

    config: AdapterConfig
    built: Built


def describe(
    built: Built,
    run: RunConfig,
    classes: tuple[str, ...],
    *,
    part_names: tuple[tuple[str, ...], ...] = (),
    fingerprint: str = "",
    metrics: dict[str, Any] | None = None,
) -> AdapterConfig:
    """Return the config of an adapter about to be saved; local paths of the data shrink to their last part."""
    trainable, total = built.model.count()
    return AdapterConfig(
        adapter_type=run.method.kind,
        run=_portable(run),
        classes=classes,
        part_names=part_names,
        preparation=run.data.preparation,
        backbone=BackboneOrigin(kind=run.backbone.kind, origin=built.backbone.origin, sha256=built.backbone.sha256),
        dataset_fingerprint=fingerprint,
        trainable_parameters=trainable,
        total_parameters=total,
        metrics=metrics or {},
    )


def _portable(run: RunConfig) -> RunConfig:
    return run.model_copy(update={"data": with_paths(run.data, lambda path: Path(path.name))})


def save_adapter(folder: Path, built: Built, config: AdapterConfig) -> int:
    """Write an adapter folder, whole or not at all (an older one is replaced); return its size in bytes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        state = {name: tensor.cpu().contiguous() for name, tensor in built.model.adapter_state().items()}
        save_file(state, draft / WEIGHTS_NAME, metadata={"format": "pt"})
        content = json.loads(config.model_dump_json())
        _write(draft / CONFIG_NAME, json.dumps(content, indent=2) + "\n")
        _write(draft / "config.json", small_config(config))
        _write(draft / "README.md", card.render(config.model_dump(), (config.merged_from or config.run).to_yaml()))
        draft.chmod(0o755)
        (draft / WEIGHTS_NAME).chmod(0o644)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return sum(path.stat().st_size for path in folder.iterdir())


def small_config(config: AdapterConfig) -> str:
    """Return `config.json`, by whose downloads the Hub counts those of libraries that it does not know."""
    content = json.loads(config.model_dump_json())
    small = {key: content[key] for key in ("library_name", "adapter_type", "format_version", "classes")}
    return json.dumps({**small, "backbone": config.backbone.kind}, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def read_adapter_config(folder: Path, name: str = "") -> AdapterConfig:
    """Read and check `adapter_config.json`; UserError says what does not fit, of the adapter `name` where given."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise UserError(
            f"No adapter in {name or folder}",
            expected=f"a folder with {CONFIG_NAME} and {WEIGHTS_NAME}",
            remedy="Check the path",
        )
    subject = f"{CONFIG_NAME} of {name}" if name else str(path)
    content = read_json(path, name=subject, limit=CONFIG_BYTES)
    version = content.get("format_version") if is_mapping(content) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{subject} has an unknown format version",
            got=version if isinstance(version, int) and version < 1e9 else type(version).__name__,
            expected=str(FORMAT_VERSION),
            remedy="Use the Pointsmith release that wrote it, or a newer one",
        )
    try:
        return AdapterConfig.model_validate(content)
    except ValidationError as error:
        problem = explain(error, subject)
        raise UserError(
            problem.what[:300],
            got=None if problem.got is None else str(problem.got)[:200],
            expected=(problem.expected or "")[:300],
            remedy=problem.remedy,
        ) from error


def read_adapter_weights(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of an adapter; UserError when the file is damaged or a tensor holds NaN or infinity."""
    path = folder / WEIGHTS_NAME
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{WEIGHTS_NAME} cannot be read ({type(error).__name__})", remedy="Copy the adapter again"
        ) from error
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"The tensor {name[:100]} of {WEIGHTS_NAME} holds numbers that are not finite",
                remedy="Use another adapter, or train this one again",
            )
    return state


def load_adapter(folder: Path, *, backbone_weights: str | None = None) -> Adapter:
    """Load an adapter with its backbone, in evaluation mode on the CPU.

    `backbone_weights` replaces the config's own reference, for a backbone file that lies elsewhere on this machine.
    UserError when a file is missing or damaged, or the backbone's hash is not the one the adapter was trained on.
    """
    config = read_adapter_config(folder)
    run = config.run
    if backbone_weights:
        run = run.model_copy(update={"backbone": run.backbone.model_copy(update={"weights": backbone_weights})})
    built = build(run, len(config.classes), sum(map(len, config.part_names)))
    if built.backbone.sha256 != config.backbone.sha256:
        raise UserError(
            f"The backbone {built.backbone.origin} is not the one this adapter was trained on",
            got=built.backbone.sha256[:12],
            expected=f"weights with the hash {config.backbone.sha256[:12]}… ({config.backbone.origin})",
            remedy="Give the path of the right weight file",
        )
    built.model.load_adapter(read_adapter_weights(folder), WEIGHTS_NAME)
    built.model.eval()
    return Adapter(config, built)
