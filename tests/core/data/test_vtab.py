"""The means of VTAB-1k are those that papers report, and the tasks are the nineteen."""

from __future__ import annotations

from pointsmith.core.config import parse_config
from pointsmith.core.data.config import VTAB_CLASSES
from pointsmith.core.training.series import MemberResult
from pointsmith.core.training.vtab import GROUPS, TASKS, report_on


def result(name: str, accuracy: float) -> MemberResult:
    return MemberResult(
        name=name, test_accuracy=accuracy, best_epoch=1, epochs=1, selected_on="last", trainable=1, seconds=1.0
    )


def run():
    data = {"kind": "vtab", "path": "vtab-1k"}
    return parse_config({"backbone": {"kind": "vit-b16"}, "method": {"kind": "probe"}, "data": data, "select": "last"})


def test_the_nineteen_tasks_in_groups_of_seven_four_and_eight() -> None:
    assert sorted(TASKS) == sorted(VTAB_CLASSES) and len(TASKS) == 19
    assert [len(tasks) for tasks in GROUPS.values()] == [7, 4, 8]


def test_each_group_counts_alike() -> None:
    accuracy = {"natural": 0.9, "specialized": 0.6, "structured": 0.3}
    done = [result(task, accuracy[name]) for name, tasks in GROUPS.items() for task in tasks]
    report = report_on(run(), done)
    assert {name: round(mean, 6) for name, mean in report.groups.items()} == accuracy
    assert round(report.mean or 0, 6) == 0.6  # the mean over the nineteen tasks would be 0.584


def test_a_group_that_is_not_complete_has_no_mean() -> None:
    report = report_on(run(), [result(task, 0.5) for task in GROUPS["specialized"]] + [result("cifar", 0.5)])
    assert set(report.groups) == {"specialized"} and report.mean is None
