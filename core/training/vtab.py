"""The nineteen tasks of VTAB-1k: their three groups, and the means that papers report."""

from __future__ import annotations

from ..config import RunConfig
from ..data.config import VtabData
from ..errors import UserError
from ..schema import Config
from .series import MemberResult

GROUPS = {
    "natural": ("caltech101", "cifar", "dtd", "oxford_flowers102", "oxford_iiit_pet", "sun397", "svhn"),
    "specialized": ("diabetic_retinopathy", "eurosat", "patch_camelyon", "resisc45"),
    "structured": (
        "clevr_count",
        "clevr_dist",
        "dmlab",
        "dsprites_loc",
        "dsprites_ori",
        "kitti",
        "smallnorb_azi",
        "smallnorb_ele",
    ),
}
TASKS = tuple(task for tasks in GROUPS.values() for task in tasks)


class VtabReport(Config):
    """The tasks that are finished; `groups` has the mean of each group that is complete, `mean` the mean of the three.

    So papers average: each group counts alike, however many tasks it has (Adapter-X, table 1; NOAH, table 2).
    """

    method: str
    backbone: str
    tasks: tuple[MemberResult, ...]
    groups: dict[str, float]
    mean: float | None


def of_task(run: RunConfig, task: str) -> RunConfig:
    """Return the run of one task; UserError where its data are not VTAB-1k."""
    if not isinstance(run.data, VtabData):
        raise UserError("These data are not VTAB-1k", got=run.data.kind, expected="vtab")
    return run.model_copy(update={"data": run.data.model_copy(update={"task": task})})


def report_on(run: RunConfig, done: list[MemberResult]) -> VtabReport:
    """Return the report over the tasks that are finished."""
    found = {one.name: one.test_accuracy for one in done}
    groups = {
        name: sum(found[task] for task in tasks) / len(tasks)
        for name, tasks in GROUPS.items()
        if all(task in found for task in tasks)
    }
    mean = sum(groups.values()) / len(groups) if len(groups) == len(GROUPS) else None
    return VtabReport(method=run.method.kind, backbone=run.backbone.kind, tasks=tuple(done), groups=groups, mean=mean)
