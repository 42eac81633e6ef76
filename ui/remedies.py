"""What helps a failed run: for each kind of failure a sentence, and the changes that a person would try first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core.config import RunConfig, parse_config
from ..core.errors import UserError
from ..worker.run import Run

MEANS = {
    "memory": "The device ran out of memory.",
    "nan": "The training diverged: its numbers stopped being finite.",
    "data": "The data set cannot be used as it is.",
    "device": "The device failed, or is not there.",
    "disk": "The disk is full, or cannot be written. The last checkpoint is still good.",
    "authorisation": "The server refused access: a token is missing, or has not been granted this model.",
    "network": "Something on the network did not answer.",
    "user": "The settings do not fit.",
    "lost": "The trainer was killed again and again without a new checkpoint, most often for want of memory.",
    "bug": "This is most likely a mistake in Pointsmith: the last lines say where.",
}
"""What a kind of failure means, in a sentence."""

ADVICE = {
    "device": "Look at the device (`nvidia-smi`), or start a worker elsewhere, before going on.",
    "disk": "Make room first: delete runs that are no longer needed, or move the data folder.",
    "authorisation": "Accept the terms on the model's page and give the worker a token (`hf auth login`, or HF_TOKEN).",
    "network": "Check the connection of the worker's machine; files that came in part are kept.",
    "data": "`pointsmith inspect` and the Data tab name every faulty file, and mend some faults.",
}
"""What to do first, where no setting helps."""


@dataclass(frozen=True)
class Remedy:
    """One click: a new run, with `settings` changed (dotted names), or going on from the checkpoint where none are."""

    key: str
    label: str
    about: str
    settings: dict[str, Any]


def _slices(config: RunConfig) -> Remedy | None:
    frozen = config.batchnorm == "frozen" or config.data.modality == "images"
    exact = config.method.kind != "idpt" and (frozen or config.method.kind != "full")
    exact = exact and (frozen or config.backbone.kind != "point-m2ae")
    if config.memory == "two-phase" or not exact:
        return None
    about = "the same batch and gradients in two phases, in memory that hardly grows with the batch; slower"
    settings = {"memory": "two-phase", "accumulate": 1, "recompute": False, "graph": False}
    return Remedy("slices", "Take the batch in slices", about, settings)


def _halve(config: RunConfig) -> Remedy | None:
    sliced = config.memory == "two-phase" and config.accumulate == 1  # as many slices as are useful, at most of 64
    now = -(-config.batch_size // 8) if sliced else config.accumulate
    parts = min(2 * now, config.batch_size // 2)
    if parts <= now:
        return None
    about = f"{config.batch_size // parts} instead of {config.batch_size // now} inputs at a time"
    about = f"{config.batch_size // parts} inputs at a time" if sliced else about
    return Remedy("halve", "Half the batch at a time", f"{about}, the same steps", {"accumulate": parts})


def _recompute(config: RunConfig) -> Remedy | None:
    about = "keeps less between forward and backward pass, and takes about a third longer"
    return None if config.recompute else Remedy("recompute", "Recompute", about, {"recompute": True})


def _bf16(config: RunConfig) -> Remedy | None:
    about = "numbers of half the size in the forward pass"
    return Remedy("bf16", "Use bf16", about, {"precision": "bf16"}) if config.precision == "float32" else None


def _float32(config: RunConfig) -> Remedy | None:
    about = "full precision; bf16 may be what overflowed"
    return Remedy("float32", "Use float32", about, {"precision": "float32"}) if config.precision != "float32" else None


def _slower(config: RunConfig) -> Remedy | None:
    lr = float(f"{config.optim.lr / 3:.2g}")
    return Remedy("slower", "A third of the learning rate", f"{lr:g} instead of {config.optim.lr:g}", {"optim.lr": lr})


_OF_KIND: dict[str, tuple[Callable[[RunConfig], Remedy | None], ...]] = {
    "memory": (_slices, _halve, _recompute, _bf16),
    "lost": (_slices, _halve, _recompute),
    "nan": (_slower, _float32),
}
_RESUMABLE = ("disk", "device", "network", "authorisation", "lost", "bug")
RESUME = Remedy("resume", "Go on", "a new run that starts where the last checkpoint of this one is", {})
AGAIN = Remedy("again", "Try again", "a new run with the same settings", {})


def remedies(run: Run) -> list[Remedy]:
    """What one click may do about an ended run, the likeliest first; nothing for one that succeeded."""
    try:
        config = parse_config(run.config)
    except UserError:  # of another version, or no real run
        return []
    kind = str((run.error or {}).get("kind") or "")
    found = [remedy for make in _OF_KIND.get(kind, ()) if (remedy := make(config)) is not None]
    if run.state == "cancelled" or (run.state == "failed" and kind in _RESUMABLE):
        again = RESUME if can_resume(run) else AGAIN
        found.insert(0 if kind != "lost" else len(found), again)
    return found


def can_resume(run: Run) -> bool:
    """Whether a checkpoint of this run is on this machine or in the artefact store."""
    return run.away or (run.folder / "checkpoint" / "latest.json").is_file()


def changed(run: Run, remedy: Remedy) -> RunConfig:
    """The configuration of the new run; UserError when the changes no longer fit."""
    content: dict[str, Any] = parse_config(run.config).to_dict()
    for name, value in remedy.settings.items():
        *path, leaf = name.split(".")
        place = content
        for step in path:
            place = place.setdefault(step, {})
        place[leaf] = value
    return parse_config(content)
