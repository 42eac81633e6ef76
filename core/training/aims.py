"""Four ways to train what was chosen: a quick look, as published, in little memory, or for the best accuracy.

Each changes how the chosen method learns on the chosen backbone; what it learns from is never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..config import RunConfig, parse_config
from ..data.augment import AugmentConfig
from ..errors import UserError
from ..recipes import Recipe, recipes
from ..schema import leaves

_PUBLISHED = ("optim", "augment", "head", "epochs", "batch_size", "batchnorm", "select", "precision", "patience")


@dataclass(frozen=True)
class Aim:
    """A way to train: `apply` returns a run with other settings; UserError where there is no such way for it."""

    key: str
    title: str
    about: str
    apply: Callable[[RunConfig], RunConfig]


def aims() -> dict[str, Aim]:
    """Return the ways by key."""
    found = (
        Aim("quick", "Quick look", "a few epochs at a high learning rate: does it learn at all?", _quick),
        Aim("paper", "Paper", "the published settings of the method", _paper),
        Aim("memory", "Small memory", "the same steps, in slices: memory hardly grows with the batch", _small),
        Aim("accuracy", "Best accuracy", "long training; the best epoch on validation, or stop early", _accurate),
    )
    return {aim.key: aim for aim in found}


def _quick(run: RunConfig) -> RunConfig:
    small = run.backbone.kind == "demo"
    lr = 3e-3 if small and run.method.kind != "full" else 5e-4
    return _changed(
        run,
        epochs=9 if small else 5,
        batch_size=16,
        accumulate=1,
        memory="auto",
        recompute=False,
        patience=None,
        select=_honest(run),
        precision="auto",
        optim={"lr": lr},
        augment=_gentle(run),
        head={"dropout": 0.1, **_own_head(run)},
    )


def _accurate(run: RunConfig) -> RunConfig:
    small = run.backbone.kind == "demo"
    select = _honest(run)
    return _changed(
        run,
        epochs=100 if small else 300,
        batch_size=16 if small else 32,
        accumulate=1,
        memory="auto",
        recompute=False,
        patience=30 if select == "validation" else None,
        select=select,
        precision="auto",
        optim={"lr": 2e-3 if small and run.method.kind != "full" else 5e-4, "warmup_epochs": 5.0},
        augment=_gentle(run),
        head={"dropout": 0.2, **_own_head(run)},
    )


def _small(run: RunConfig) -> RunConfig:
    # As many slices as are useful; a run for which they would not be exact says so and recomputes its blocks.
    return _changed(run, memory="two-phase", accumulate=1, recompute=False, graph=False, precision="auto")


def _paper(run: RunConfig) -> RunConfig:
    recipe = published(run)
    if recipe is None:
        raise UserError(
            f"No recipe here has published settings for {run.method.kind} on such data", remedy="Choose another way"
        )
    found = recipe.config()
    settings = {key: found.model_dump(mode="json")[key] for key in _PUBLISHED}
    if found.select == "test" and found.data.kind != run.data.kind:
        settings["select"] = _honest(run)  # their protocol is for comparing with their numbers
    if found.backbone.kind != run.backbone.kind:
        settings["head"] |= {"kind": None, "parts": None}  # as the backbone and the method were published
    return _changed(
        run, method=found.method.model_dump(mode="json"), accumulate=1, memory="auto", recompute=False, **settings
    )


def published(run: RunConfig) -> Recipe | None:
    """Return the recipe with the published settings of a run's method: for its data and backbone, or the nearest."""
    wanted = (run.method.kind, run.data.modality, run.data.answers)
    best: tuple[int, Recipe] | None = None
    for one in recipes().values():
        config = one.config()
        if (config.method.kind, config.data.modality, config.data.answers) != wanted or config.backbone.kind == "demo":
            continue
        variant = getattr(config.data, "variant", "hardest") == getattr(run.data, "variant", "hardest")
        # Where nothing else decides it is the data that every paper reports.
        scanned = config.data.kind == "scanobjectnn"
        near = 8 * (config.data.kind == run.data.kind) + 4 * (config.backbone.kind == run.backbone.kind)
        near += 2 * scanned + variant
        if best is None or near > best[0]:
            best = near, one
    return best[1] if best else None


def _honest(run: RunConfig) -> str:
    return "last" if run.data.unvalidated else "validation"


def _gentle(run: RunConfig) -> dict[str, Any]:
    if run.data.modality == "images":
        return AugmentConfig().model_dump(mode="json")
    return {"kind": "scale-shift", "scale_min": 0.8, "scale_max": 1.25, "shift": 0.1, "axis": run.augment.axis}


def _own_head(run: RunConfig) -> dict[str, Any]:
    """What of the head is no matter of training."""
    kept = run.head.model_dump(mode="json")
    return {key: kept[key] for key in ("kind", "parts", "hidden") if key in kept}


def _changed(run: RunConfig, **settings: Any) -> RunConfig:
    return parse_config({**run.model_dump(mode="json"), **settings}, "The settings")


def differences(before: RunConfig, after: RunConfig) -> list[tuple[str, Any, Any]]:
    """Return (key, old, new) of every setting that two runs do not share."""
    old, new = dict(leaves(before.model_dump(mode="json"))), dict(leaves(after.model_dump(mode="json")))
    keys = [*old, *(key for key in new if key not in old)]
    return [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
