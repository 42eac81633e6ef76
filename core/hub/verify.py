"""Verifying a pushed adapter: its commit is loaded, scored again, and held against what its card tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..adapters import AdapterConfig
from ..data.apart import load_apart
from ..data.config import DataConfig
from ..data.dataset import Split as DataSplit
from ..errors import UserError
from ..models.download import Report
from ..predict import Predictor
from ..training.task import task_of
from .card import told_results
from .client import Hub
from .place import HubId
from .pull import Pulled, pull, silent

TOLERANCE = 1e-4
"""Largest difference of a mean IoU that sums in another order explain."""
Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Compared:
    """One number of the card, and the same one measured now on `inputs` inputs. Shares, 0..1."""

    split: Split
    told: float
    measured: float
    inputs: int
    exact: bool
    """It is a share of inputs that are right, which one of them changes by 1 / inputs; else a mean IoU."""

    @property
    def same(self) -> bool:
        """Whether they agree: to the input, or where it is a mean IoU to `TOLERANCE`."""
        return abs(self.told - self.measured) < (0.5 / self.inputs if self.exact else TOLERANCE)

    def sentence(self, metric: str) -> str:
        """Return it as a sentence."""
        said = f"{self.split} {metric}: the card says {100 * self.told:.2f} %, measured now {100 * self.measured:.2f} %"
        if self.same:
            return f"{said}, the same"
        off = abs(round((self.told - self.measured) * self.inputs))
        return f"{said}, DIFFERENT by {off} of {self.inputs}" if self.exact else f"{said}, DIFFERENT"


@dataclass(frozen=True)
class Verified:
    """What verifying found; `notes` say what limits its word."""

    id: HubId
    metric: str
    compared: tuple[Compared, ...]
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return bool(self.compared) and all(one.same for one in self.compared)

    def lines(self) -> list[str]:
        """Return it as sentences, the verdict first."""
        name = f"{self.id.name}@{self.id.revision[:12]}"
        verdict = f"{name} does what its card says" if self.same else f"{name} does NOT do what its card says"
        return [verdict, *(one.sentence(self.metric) for one in self.compared), *self.notes]


def verify(
    asked: HubId,
    *,
    hub: Hub = Hub(),
    shelf: Path | None = None,
    data: Callable[[Path, AdapterConfig], DataConfig] = lambda _, config: config.run.data,
    device: str = "auto",
    backbone_weights: str | None = None,
    report: Report = silent,
) -> Verified:
    """Pull, load and score an adapter, and compare with its card. `data` says what to score it on.

    UserError where it cannot be had, its card tells no number, or the data are others than it was made with.
    """
    pulled = pull(asked, hub=hub, shelf=shelf, report=report)
    told = _told(pulled)
    predictor = Predictor.load(pulled.folder, device=device, backbone_weights=backbone_weights)
    config = predictor.config
    dataset = load_apart(data(pulled.folder, config), least=config.run.backbone.least_points)
    if dataset.fingerprint != config.dataset_fingerprint:
        raise UserError(
            f"These are not the data that {asked.name} was trained and tested with, so its card cannot be verified",
            got=dataset.fingerprint[:12],
            expected=f"data with the fingerprint {config.dataset_fingerprint[:12]}",
            remedy="Name them with --data",
        )
    parts: dict[Split, DataSplit | None] = {"test": dataset.test, "validation": dataset.validation}
    task, found = task_of(dataset), list[Compared]()
    for split, part in parts.items():
        if split in told and part is not None:
            scores = task.score(predictor.model, part.feed(predictor.device), split)
            exact = scores.metric == "accuracy"
            found.append(Compared(split, told[split], scores.accuracy, len(part), exact))
    if not found:
        raise UserError("The card's numbers are of no part of these data", got=sorted(told))
    metric = str(config.metrics.get("metric") or "accuracy")
    notes = ("The Hub could not be asked: this is the commit it had when it last could",) if pulled.offline else ()
    return Verified(pulled.id, metric, tuple(found), notes)


def _told(pulled: Pulled) -> dict[str, float]:
    path = pulled.folder / "README.md"
    told = told_results(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not told:
        raise UserError(f"The card of {pulled.id.name} tells no result", remedy="There is nothing to verify it by")
    return told
