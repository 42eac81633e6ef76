"""One object that says everything about a run: the form fills it, the command line reads it, the queue stores it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator

from . import bounded_text
from .data.augment import AugmentConfig
from .data.config import DataConfig, DemoData
from .data.picture import ImagePreparation
from .errors import UserError
from .models.backbones import BackboneConfig, DemoBackboneConfig
from .models.head import HeadConfig, Part
from .models.point_transformer import PointTransformerConfig
from .peft.dapt import DAPTConfig
from .peft.registry import MethodUnion
from .schema import Config, explain, is_mapping


class OptimConfig(Config):
    """AdamW, its schedule and its limits."""

    lr: float = Field(default=5e-4, gt=0, le=1, description="peak learning rate")
    weight_decay: float = Field(
        default=0.05, ge=0, le=1, description="not applied to vectors, biases and tokens, as the papers do"
    )
    schedule: Literal["cosine", "paper", "constant"] = Field(
        default="cosine",
        description="cosine: warm-up and cosine, every step; paper: every epoch, one epoch late, as the published code",
    )
    warmup_epochs: float = Field(default=1.0, ge=0, description="epochs from `warmup_lr` up to `lr`")
    warmup_lr: float = Field(default=1e-6, ge=0, description="learning rate at the very start")
    min_lr: float = Field(default=1e-6, ge=0, description="learning rate at the end of the cosine")
    clip: float = Field(default=10.0, gt=0, description="gradient norm above which gradients are scaled down")


class RunConfig(Config):
    """Everything a fine-tuning run is determined by, up to the device it runs on."""

    model_config = ConfigDict(allow_inf_nan=False)

    backbone: BackboneConfig = Field(default=DemoBackboneConfig(), description="the pre-trained transformer")
    method: MethodUnion = Field(default=DAPTConfig(), description="how it is fine-tuned")
    data: DataConfig = Field(default=DemoData(), description="what it learns from")
    head: HeadConfig = Field(
        default=HeadConfig(), description="what answers: for each input its class, or each point's part"
    )
    augment: AugmentConfig = Field(
        default=AugmentConfig(), description="random changes of the training clouds; images have `data.augment`"
    )
    optim: OptimConfig = Field(default=OptimConfig(), description="optimiser and schedule")
    epochs: int = Field(default=10, ge=1, le=10000, description="passes over the training data")
    batch_size: int = Field(default=32, ge=2, le=4096, description="clouds or images per step")
    accumulate: int = Field(
        default=1,
        ge=1,
        le=2048,
        description="parts in which a step's batch goes through the model, one after the other: less memory, the same "
        "steps and mean gradients; batch norms then see one part at a time; in two phases the number of slices",
    )
    batchnorm: Literal["paper", "frozen"] = Field(
        default="paper",
        description="the frozen backbone's batch norms: `paper` lets their statistics drift as the published runs did "
        "and saves them with the adapter; `frozen` keeps them",
    )
    features: Literal["anew", "once"] = Field(
        default="anew",
        description="`once`: for a probe with frozen batch norms, each training input is varied one time, and from "
        "then on steps train the head on what the backbone made of it; `anew`, as published: varied at every step",
    )
    select: Literal["validation", "last", "test"] = Field(
        default="validation",
        description="which epoch is kept: best on validation, the last, or best on the TEST set "
        "(the papers' protocol; its test accuracy is optimistic)",
    )
    patience: int | None = Field(default=None, ge=1, description="stop after so many epochs without improvement")
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="auto", description="auto: bf16 on GPUs that have it, float32 elsewhere"
    )
    memory: Literal["auto", "fast", "recompute-mlp", "recompute", "two-phase"] = Field(
        default="auto",
        description="time against memory: `fast` keeps all that the gradients need; `recompute-mlp` makes the insides "
        "of the feed-forward parts again, `recompute` those of whole blocks; `two-phase` takes a batch in slices, with "
        "the gradients of the whole and memory that hardly grows with it; `auto` measures, and takes the first that "
        "fits",
    )
    memory_budget: float | None = Field(
        default=None,
        gt=0,
        description="GiB that `auto` may take of the device, this process on the CPU; empty: what it has already and "
        "nine tenths of what is free",
    )
    fast: bool = Field(
        default=True,
        description="frozen layers by the fastest arithmetic of this machine, equal up to rounding; off: the plain one",
    )
    graph: bool = Field(
        default=False,
        description="record the whole step as one CUDA graph and replay it: on a GPU, with `memory: fast`; we have not "
        "run this on a GPU yet",
    )
    recompute: bool = Field(
        default=False,
        description="at least `memory: recompute`: keep only each block's input while training and make the rest again "
        "for the gradients: much less memory, about a third more time",
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="seed of initialisation, order, augmentation and dropout"
    )
    checkpoint_seconds: float = Field(
        default=30.0,
        ge=0,
        description="at most so much training between two checkpoints (one at each epoch's end anyway)",
    )

    @model_validator(mode="before")
    @classmethod
    def _usual_kinds(cls, content: Any) -> Any:
        """A part that does not say its kind is of the default kind, so that `data.seed=3` alone is a sentence."""
        if not is_mapping(content):
            return content
        usual = {name: cls.model_fields[name].default.kind for name in ("backbone", "method", "data")}
        content = content | {
            name: {"kind": kind, **content[name]} for name, kind in usual.items() if isinstance(content.get(name), dict)
        }
        return (
            content | {"backbone": _for_parts(content.get("backbone"))} if _of_parts(content.get("data")) else content
        )

    @model_validator(mode="after")
    def _fits(self) -> RunConfig:
        self._inputs_fit()
        if self.accumulate > self.batch_size // 2:
            raise UserError(
                "accumulate cuts a batch into parts of less than two",
                got=self.accumulate,
                expected=f"at most {self.batch_size // 2}, half of batch_size",
            )
        shape = self.backbone.shape
        self.method.check(shape)
        if self.data.answers == "parts":
            shape.require_levels()
            if self.head.kind is not None:
                raise UserError(
                    "head.kind chooses a head that classifies, and these data have parts",
                    got=self.head.kind,
                    remedy="Leave it empty",
                )
        if self.select == "validation" and self.data.unvalidated:
            raise UserError(
                f"select is `validation` but {self.data.unvalidated}",
                remedy="Hold out a share, or choose `last` or (labelled as such) `test`",
            )
        for part in self.head.parts or ():
            if part.startswith("prompt") and not any(p.startswith("prompt") for p in self._pools()):
                raise UserError(f"The method {self.method.kind} has no prompts for the head", got=part)
            if part == "cls" and not shape.lead:
                raise UserError(f"{shape.title} has no class token for the head", got=part)
        return self

    def _pools(self) -> tuple[Part, ...]:
        """Return what the published head joins on these data."""
        shape = self.backbone.shape
        return self.method.level_pools(shape) if self.data.answers == "parts" else self.method.head_parts(shape)

    def _inputs_fit(self) -> None:
        """Refuse data that the backbone cannot read: of another modality, of too few points, of another size."""
        wanted, preparation = self.backbone.modality, self.data.preparation
        if self.data.modality != wanted:
            raise UserError(
                f"The backbone {self.backbone.kind} reads {wanted}, and the data `{self.data.kind}` are "
                f"{self.data.modality}",
                remedy=f"Choose data of {wanted} ({_kinds_of('data', wanted)}) "
                f"or a backbone for {self.data.modality} ({_kinds_of('backbone', self.data.modality)})",
            )
        if isinstance(preparation, ImagePreparation):
            side = self.backbone.example_size(0)[-1]
            if preparation.size != side:
                raise UserError(
                    "data.preparation.size is not the size of the backbone's images",
                    got=preparation.size,
                    expected=str(side),
                    remedy="Set both to the same",
                )
        elif preparation.points < self.backbone.least_points:
            raise UserError(
                "data.preparation.points is too small for the backbone",
                got=preparation.points,
                expected=f"at least {self.backbone.least_points}",
                remedy="Raise the points or choose fewer or smaller groups",
            )

    @property
    def unused(self) -> str:
        """What was set and does nothing in this run, as a sentence; empty where all counts."""
        meant = self.augment.kind != "none" and self.augment != AugmentConfig()
        if not meant or self.data.modality == "points":
            return ""
        return "augment is for point clouds and does nothing here: images are changed by data.augment alone."

    def example_size(self) -> tuple[int, ...]:
        """Return the shape of a batch of one input of this run."""
        preparation = self.data.preparation
        return self.backbone.example_size(0 if isinstance(preparation, ImagePreparation) else preparation.points)

    def to_yaml(self) -> str:
        """Return the config as YAML, only what differs from the defaults of each part."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from the defaults, JSON-able; every part keeps its `kind`."""
        content = json.loads(self.model_dump_json(exclude_defaults=True))
        for part in ("backbone", "method", "data"):
            content[part] = {"kind": getattr(self, part).kind, **content.get(part, {})}
        order = [name for name in type(self).model_fields if name in content]
        return {name: content[name] for name in order}


def parse_config(content: Any, subject: str = "The configuration") -> RunConfig:
    """Return a RunConfig from nested plain data; UserError names the first key that does not fit."""
    if not is_mapping(content):
        raise UserError(f"{subject} is not a mapping of keys to values", got=type(content).__name__)
    bounded_text.check_bounds(content, name=subject)
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise explain(error, subject) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file, unchecked; UserError when it is absent or no mapping."""
    if not path.is_file():
        raise UserError("No such configuration file", got=str(path), remedy="Check the path")
    content = bounded_text.read_yaml(path, name=path.name)
    if not is_mapping(content):
        raise UserError(f"{path.name} is not a mapping of keys to values", got=type(content).__name__)
    return content


def read_config(path: Path) -> RunConfig:
    """Read a RunConfig from a YAML or JSON file; UserError says what does not fit.

    A key `like: NAME` starts from NAME.yaml beside the file, of which this file then changes parts.
    """
    return parse_config(read_inherited(path), path.name)


def read_inherited(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the mapping in a file, over that of the file it is `like`."""
    if path in seen:
        raise UserError(f"{path.name} is like itself", got=" → ".join(each.name for each in (*seen, path)))
    content = read_yaml(path)
    like = content.pop("like", None)
    if like is None:
        return content
    return _over(read_inherited(path.with_name(f"{like}.yaml"), (*seen, path)), content)


def _over(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `change` laid over it; a part that names its kind anew replaces the whole part."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        same = is_mapping(old) and is_mapping(value) and value.get("kind", old.get("kind")) == old.get("kind")
        merged[key] = _over(old, value) if is_mapping(old) and same else value
    return merged


def override(content: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Return `content` with `key.sub=value` assignments applied; values are read as YAML.

    Naming a part's kind (`method=dapt`) replaces the whole part.
    """
    result = copy.deepcopy(content)
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        if not sign or not key:
            raise UserError("A setting is not of the form key=value", got=assignment, expected="e.g. optim.lr=0.001")
        parsed = bounded_text.read_yaml(value, name=f"The setting {key}") if value else ""
        if isinstance(parsed, str):
            try:  # YAML 1.1 reads 1e-3 as text
                parsed = float(parsed)
            except ValueError:
                pass
        *path, leaf = key.split(".")
        if not path and leaf in ("backbone", "method", "data") and isinstance(parsed, str):
            result[leaf] = {"kind": parsed}
            continue
        place: Any = result
        for step in path:
            place = place.setdefault(step, {})
            if not is_mapping(place):
                raise UserError(f"The setting {key} goes through {step}, which is a value", got=place)
        place[leaf] = parsed
    return result


def amend(content: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return `content` with `settings` over it: nested, with dotted keys, or a part by its kind (`method: dapt`)."""
    bounded_text.check_bounds(settings, name="The settings")
    short = {
        key: value
        for key, value in settings.items()
        if "." in str(key) or (key in ("backbone", "method", "data") and isinstance(value, str))
    }
    nested = {key: value for key, value in settings.items() if key not in short}
    return override(_over(content, nested), [f"{key}={yaml.safe_dump(value)}" for key, value in short.items()])


def choices(part: Literal["backbone", "method", "data"]) -> dict[str, type[Config]]:
    """Return {kind: config class} of one part, in the order of its union."""
    union = {"backbone": BackboneConfig, "method": MethodUnion, "data": DataConfig}[part]
    classes = get_args(get_args(union)[0])
    return {cls.model_fields["kind"].default: cls for cls in classes}


def _of_parts(data: Any) -> bool:
    """Return whether a run's data, plain or made, have labelled points."""
    kind = data.get("kind") if is_mapping(data) else getattr(data, "kind", None)
    return isinstance(kind, str) and getattr(choices("data").get(kind), "answers", None) == "parts"


def _for_parts(backbone: Any) -> Any:
    """Return a backbone, plain or made, without a class token unless it has one by its own words, as published."""
    backbone = DemoBackboneConfig() if backbone is None else backbone
    if is_mapping(backbone):
        cls = choices("backbone").get(str(backbone.get("kind")))
        able = cls is not None and "class_token" in cls.model_fields and backbone.get("class_token") is None
        return {**backbone, "class_token": False} if able else backbone
    able = isinstance(backbone, PointTransformerConfig) and backbone.class_token is None
    return backbone.model_copy(update={"class_token": False}) if able else backbone


def _kinds_of(part: Literal["backbone", "data"], modality: str) -> str:
    """Return the kinds of a part that are of one modality, as a list for people."""
    found = [kind for kind, cls in choices(part).items() if getattr(cls, "modality", None) == modality]
    return ", ".join(found) or "there is none yet"
