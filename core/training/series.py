"""Several runs that make one result, one after another: a run that is finished is not run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from ..config import RunConfig
from ..durable import write_synced
from ..errors import UserError
from ..events import Finished, Metric
from ..schema import Config

RESULT_NAME, REPORT_NAME = "result.json", "report.json"


class MemberResult(Config):
    """What one finished run of a series came to; accuracy in 0..1 on its test part."""

    name: str
    test_accuracy: float
    best_epoch: int
    epochs: int
    selected_on: Literal["validation", "test", "last"]
    trainable: int
    seconds: float
    classes: tuple[str, ...] = ()
    validation_accuracy: float | None = None
    metric: Metric = "accuracy"


def finished_member(run: RunConfig, folder: Path, name: str) -> MemberResult | None:
    """Return the result in `folder`/`name`, None where that run is not finished; UserError where it was another run."""
    place = folder / name / RESULT_NAME
    if not place.is_file():
        return None
    content = json.loads(place.read_text(encoding="utf-8"))
    if content["run"] != run.model_dump(mode="json"):
        raise UserError(
            f"{name} was run with other settings", got=str(place.parent), remedy="Use another folder for this series"
        )
    return MemberResult.model_validate(content["result"])


def keep_member(run: RunConfig, folder: Path, name: str, last: Finished, classes: tuple[str, ...] = ()) -> MemberResult:
    """Write the result of a run that has just finished; UserError where it had no test part."""
    if last.test_accuracy is None:
        raise UserError(f"{name} has no test part")
    result = MemberResult(
        name=name,
        test_accuracy=last.test_accuracy,
        best_epoch=last.best_epoch,
        epochs=last.epochs,
        selected_on=last.selected_on,
        trainable=last.trainable,
        seconds=last.seconds,
        classes=classes,
        validation_accuracy=last.validation_accuracy,
        metric=last.metric,
    )
    content = {"run": run.model_dump(mode="json"), "result": result.model_dump(mode="json")}
    write_synced(folder / name / RESULT_NAME, json.dumps(content, indent=2).encode())
    return result
