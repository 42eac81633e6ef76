"""The folds of a few-shot task: one run each, and one report over all of them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..config import RunConfig
from ..data.config import FewShotData
from ..errors import UserError
from ..schema import Config
from .series import MemberResult


class FewShotReport(Config):
    """All folds that are finished, of `planned`; `mean` and `std` (of the sample, ddof 1) of their test accuracy."""

    way: int
    shot: int
    method: str
    backbone: str
    selected_on: Literal["validation", "test", "last"]
    planned: int
    folds: tuple[MemberResult, ...]
    mean: float | None
    std: float | None


def name_of(fold: int) -> str:
    """Return what the run of a fold is called, and its folder."""
    return f"fold-{fold}"


def of_fold(run: RunConfig, fold: int) -> RunConfig:
    """Return the run of one fold; UserError where its data are no few-shot folds."""
    return run.model_copy(update={"data": _data(run).model_copy(update={"fold": fold})})


def report_on(run: RunConfig, folds: list[MemberResult], planned: int) -> FewShotReport:
    """Return the report over the folds that are finished."""
    data = _data(run)
    accuracies = [fold.test_accuracy for fold in folds]
    return FewShotReport(
        way=data.way,
        shot=data.shot,
        method=run.method.kind,
        backbone=run.backbone.kind,
        selected_on=run.select,
        planned=planned,
        folds=tuple(folds),
        mean=float(np.mean(accuracies)) if folds else None,
        std=float(np.std(accuracies, ddof=1)) if len(folds) > 1 else None,
    )


def _data(run: RunConfig) -> FewShotData:
    if not isinstance(run.data, FewShotData):
        raise UserError("These data are no few-shot folds", got=run.data.kind, expected="fewshot")
    return run.data
