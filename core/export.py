"""One file for other programs: trunk, adapter and head as a `torch.export` program that needs PyTorch alone.

Written for the CPU; it takes prepared inputs and answers logits. It loads with `torch.export.load(file).module()`,
without this package.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .adapters import Adapter
from .errors import UserError
from .peft.part_model import TunedForParts
from .peft.tuned_model import Tuned

TOLERANCE = 1e-4
"""Largest difference of logits, relative to their size, that float32 in another order explains."""
ABOUT = "pointsmith.json"
"""The file inside the program that says classes and preparation."""
_MOST = 1024
_PROBES = 3


@dataclass(frozen=True)
class Exported:
    """What was written. `difference` is the largest |a - b| of logits on random inputs, read back from the file."""

    bytes: int
    difference: float
    example: tuple[int, ...]
    """The shape of its inputs. The first number is 1 where it answers one at a time, else 0: any number together."""


class _Answering(nn.Module):
    """Inputs (B, …) in, logits (B, C) out."""

    def __init__(self, model: Tuned) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)


def export(adapter: Adapter, out: Path) -> Exported:
    """Write the adapter with its backbone to `out`, a .pt2 file, and hold what was written against the model.

    UserError where PyTorch cannot trace the model, the answers differ, or `out` exists.
    """
    if out.suffix != ".pt2":
        raise UserError("The exported file has to end in .pt2", got=out.name)
    if out.exists():
        raise UserError(f"{out} exists already", remedy="Choose another name or remove it")
    model, run = adapter.built.model.eval(), adapter.config.run
    if isinstance(model, TunedForParts):
        raise UserError("An adapter of parts cannot be exported: it answers for clouds of any size and category")
    size = run.example_size()
    program, batch = _traced(_Answering(model), size, f"{run.method.kind} on {run.backbone.kind}")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}")
    try:
        with _calm():
            torch.export.save(program, draft, extra_files={ABOUT: _about(adapter)})
            difference = _difference(model, torch.export.load(draft).module(), size, (1,) if batch else (1, _PROBES))
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return Exported(out.stat().st_size, difference, (batch, *size[1:]))


def _traced(module: nn.Module, size: tuple[int, ...], name: str) -> tuple[Any, int]:
    """Return (the program, 0 where it takes any number of inputs, 1 where only one at a time can be traced)."""
    anyhow = torch.export.Dim("batch", min=1, max=_MOST)
    failed: Exception | None = None
    for count in (2, 1):
        example = torch.randn(count, *size[1:], generator=_seeded())
        shapes = ({0: anyhow},) if count == 2 else None
        try:
            with torch.no_grad(), _calm():
                return torch.export.export(module, (example,), dynamic_shapes=shapes), count % 2
        except Exception as error:  # whatever the tracer meets: its errors have no common kind
            failed = error
    lines = [line.strip() for line in str(failed).splitlines() if line.strip()]
    reason = lines[0][:200] if lines else type(failed).__name__
    raise UserError(f"PyTorch cannot export {name} ({reason})", remedy="Use the adapter as it is") from failed


def _difference(model: Tuned, loaded: nn.Module, size: tuple[int, ...], counts: tuple[int, ...]) -> float:
    """Return the largest difference of logits on batches of these sizes; UserError if too large."""
    largest = 0.0
    generator = _seeded()
    for count in counts:
        inputs = torch.randn(count, *size[1:], generator=generator)
        with torch.inference_mode():
            before, after = model(inputs), loaded(inputs)
        difference = float((before - after).abs().max())
        if difference > TOLERANCE * max(1.0, float(before.abs().max())):
            raise UserError(
                "The exported program does not answer as the adapter does",
                got=f"a difference of {difference:.2g}",
                expected=f"at most {TOLERANCE:g} of the logits",
                remedy="Use the adapter as it is, and report this",
            )
        largest = max(largest, difference)
    return largest


def _about(adapter: Adapter) -> str:
    config = adapter.config
    said = {
        "classes": config.classes,
        "preparation": config.preparation.model_dump(mode="json"),
        "method": config.adapter_type,
        "backbone": config.backbone.kind,
    }
    return json.dumps(said)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@contextmanager
def _calm() -> Generator[None, None, None]:
    """Without PyTorch's remarks about its own insides."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
