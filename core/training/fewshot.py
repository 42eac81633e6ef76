"""The folds of a few-shot task: one run each, and one report over all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np

from ..config import RunConfig
from ..data.config import FewShotData
from ..durable import write_synced
from ..errors import UserError
from ..events import Finished
from ..schema import Config

RESULT_NAME, REPORT_NAME = "result.json", "report.json"


class FoldResult(Config):
    """What one finished fold came to; accuracy in 0..1 on the fold's test clouds."""

    fold: int
    test_accuracy: float
    best_epoch: int
    epochs: int
    selected_on: Literal["validation", "test", "last"]
    classes: tuple[str, ...]
    trainable: int
    seconds: float


class FewShotReport(Config):
    """All folds that are finished, of `planned`; `mean` and `std` (of the sample, ddof 1) of their test accuracy."""

    way: int
    shot: int
    method: str
    backbone: str
    selected_on: Literal["validation", "test", "last"]
    planned: int
    folds: tuple[FoldResult, ...]
    mean: float | None
    std: float | None


def fold_folder(folder: Path, fold: int) -> Path:
    """Return where the run of one fold lies."""
    return folder / f"fold-{fold}"


def of_fold(run: RunConfig, fold: int) -> RunConfig:
    """Return the run of one fold; UserError where its data are no few-shot folds."""
    return run.model_copy(update={"data": _data(run).model_copy(update={"fold": fold})})


def finished_fold(run: RunConfig, folder: Path, fold: int) -> FoldResult | None:
    """Return the result of a fold that is finished, None for one that is not; UserError where its run was another."""
    place = fold_folder(folder, fold) / RESULT_NAME
    if not place.is_file():
        return None
    content = json.loads(place.read_text(encoding="utf-8"))
    if content["run"] != of_fold(run, fold).model_dump(mode="json"):
        raise UserError(
            f"Fold {fold} was run with other settings", got=str(place.parent), remedy="Use another folder for this task"
        )
    return FoldResult.model_validate(content["result"])


def keep_fold(run: RunConfig, folder: Path, fold: int, last: Finished, classes: tuple[str, ...]) -> FoldResult:
    """Write the result of a fold that has just finished; UserError where it had no test clouds."""
    if last.test_accuracy is None:
        raise UserError(f"Fold {fold} has no test clouds")
    result = FoldResult(
        fold=fold,
        test_accuracy=last.test_accuracy,
        best_epoch=last.best_epoch,
        epochs=last.epochs,
        selected_on=last.selected_on,
        classes=classes,
        trainable=last.trainable,
        seconds=last.seconds,
    )
    content = {"run": of_fold(run, fold).model_dump(mode="json"), "result": result.model_dump(mode="json")}
    write_synced(fold_folder(folder, fold) / RESULT_NAME, json.dumps(content, indent=2).encode())
    return result


def report_on(run: RunConfig, folds: list[FoldResult], planned: int) -> FewShotReport:
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
