"""Adapters on disk: two familiar files, a small config for the Hub's counters, and a card.

`adapter_model.safetensors` holds what the backbone's own file does not; `adapter_config.json` all it takes to load it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

from . import card
from .building import Built, build
from .config import RunConfig
from .data.clouds import Preparation
from .data.config import with_paths
from .data.picture import ImagePreparation
from .errors import UserError
from .schema import Config, explain, is_mapping

FORMAT_VERSION = 1
WEIGHTS_NAME, CONFIG_NAME = "adapter_model.safetensors", "adapter_config.json"


class BackboneOrigin(Config):
    """Which weights the adapter was trained on; the hash is over names, shapes and values, not over a file."""

    kind: str
    origin: str
    sha256: str


class AdapterConfig(Config):
    """Everything needed to load an adapter and to judge it."""

    format_version: int = FORMAT_VERSION
    library_name: str = "pointsmith"
    adapter_type: str
    run: RunConfig
    merged_from: RunConfig | None = None
    """The run that was trained, where parts of its method have been folded into the backbone since."""
    classes: tuple[str, ...]
    part_names: tuple[tuple[str, ...], ...] = ()
    """The parts of each class's objects, where points are labelled."""
    preparation: Preparation | ImagePreparation
    backbone: BackboneOrigin
    dataset_fingerprint: str = ""
    trainable_parameters: int
    total_parameters: int
    metrics: dict[str, Any] = Field(default_factory=dict[str, Any])


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


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read and check `adapter_config.json`; UserError says what does not fit."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise UserError(
            f"No adapter in {folder}",
            expected=f"a folder with {CONFIG_NAME} and {WEIGHTS_NAME}",
            remedy="Check the path",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON") from error
    version = content.get("format_version") if is_mapping(content) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has an unknown format version",
            got=version,
            expected=str(FORMAT_VERSION),
            remedy="Use the Pointsmith release that wrote it, or a newer one",
        )
    try:
        return AdapterConfig.model_validate(content)
    except ValidationError as error:
        raise explain(error, str(path)) from error


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
    path = folder / WEIGHTS_NAME
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__})", remedy="Copy the adapter again") from error
    built.model.load_adapter(state, str(path))
    built.model.eval()
    return Adapter(config, built)
