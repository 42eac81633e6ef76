"""A data set is checked before it costs anything: what it holds, what is wrong, and which setting mends that."""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from pydantic import TypeAdapter, ValidationError

from ..errors import UserError
from .clouds import Preparation, lying, upright
from .config import DataConfig, FolderData, H5Data, ImagesData
from .facts import Item, up_axis
from .problems import Problem, find_problems, whose_label
from .sandbox.protocol import Progress, Sandbox
from .survey import LIMITS, Limits, Looked, found_in, look_at, look_through
from .thumbnail import cloud_picture, cloud_preview, preview_points
from .trial import Trial, trial

_SHARE = 0.5
"""Of the memory that is free, how much the check of a stranger's data set may take."""


@dataclass(frozen=True)
class Spread:
    """Of many numbers the smallest, the middle and the largest."""

    low: float
    median: float
    high: float


@dataclass
class Report:
    """What a check found. Plain data throughout: `asdict` makes JSON of it, `from_json` reads it again.

    `counts` is class → part → inputs that can be read, as the place has them; `trial` what a run would get.
    """

    kind: str
    modality: Literal["points", "images"]
    title: str
    inputs: int
    usable: int
    counts: dict[str, dict[str, int]]
    parts: dict[str, int]
    spreads: dict[str, Spread]
    up: dict[str, Any] | None
    grey: int
    problems: list[Problem]
    trial: Trial
    pictures: list[Item] = field(default_factory=list[Item])
    drawn_up: str = "y"
    """Which axis of the files points up in the pictures."""
    seconds: float = 0.0

    @property
    def fingerprint(self) -> str:
        return self.trial.fingerprint

    @property
    def open_problems(self) -> list[Problem]:
        """Errors and warnings that no setting mends yet."""
        return [one for one in self.problems if one.level != "info" and not one.mended]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Report:
        """Return the report that `to_json` wrote."""
        return TypeAdapter[Report](Report).validate_python(content)


def inspect(
    config: DataConfig, *, least: int = 1, limits: Limits = LIMITS
) -> Generator[tuple[str, int, int], None, Report]:
    """Check a data set for a model that needs `least` points: yield (what, done, total), return the report.

    Files are opened in children with `limits`, at most four at a time; what is wrong with one is a line of the report.
    Raises UserError only where there is nothing to look at: the path is missing, or a zip cannot be unpacked.
    """
    begun = time.monotonic()
    complaint, strangers = "", list[str]()
    if isinstance(config, (FolderData, H5Data, ImagesData)):
        with found_in(config) as found:
            looking = look_at(found.jobs, limits)
            while True:
                try:
                    step = next(looking)
                except StopIteration as end:
                    items: list[Item] = end.value
                    break
                yield _told(step)
        complaint, strangers = str(found.complaint or ""), found.strangers
        yield "loading it as a run would", 0, 1
        tried = trial(config, least)
    else:
        yield "reading", 0, 1
        tried = trial(config, least)
        items = [] if tried.refused else look_through(config)[0]
    label_of = whose_label(tried, items)
    items = [replace(item, label=label_of(item.label)) for item in items]
    report = _report(config, items, tried)
    report.problems = find_problems(config, items, tried, complaint, strangers)
    report.seconds = time.monotonic() - begun
    return report


def inspect_untrusted(config: DataConfig, *, least: int = 1) -> Generator[tuple[str, int, int], None, Report]:
    """Do what `inspect` does in a child with limits: nothing of a stranger's data set is opened in this process.

    UserError as there, and where the child reached a limit.
    """
    passed_on = ("HOME", "XDG_CACHE_HOME", "POINTSMITH_CACHE")
    variables = {key: value for key, value in os.environ.items() if key.startswith("HF_") and "TOKEN" not in key}
    variables |= {key: os.environ[key] for key in passed_on if key in os.environ}
    memory = int(_SHARE * psutil.virtual_memory().available)
    limits = Limits(memory, cpu_seconds=600, wall_seconds=1800, file_bytes=16 << 30)
    request = {"data": TypeAdapter[DataConfig](DataConfig).dump_python(config, mode="json"), "least": least}
    steps: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()
    with (
        tempfile.TemporaryDirectory(prefix="pointsmith-read-", ignore_cleanup_errors=True) as scratch,
        Sandbox(f"{__name__}:inspect_in_child", limits, variables=variables, scratch=Path(scratch)) as child,
        ThreadPoolExecutor(1, thread_name_prefix="inspect") as thread,
    ):
        answer = thread.submit(child.ask, request, name="The data set", progress=lambda *step: steps.put(step))
        try:
            while not answer.done():
                with contextlib.suppress(queue.Empty):
                    yield steps.get(timeout=0.1)
        finally:
            child.close()  # before its thread is waited for, where nobody wants the answer any more
        content, _ = answer.result()
    try:
        return Report.from_json(content)
    except ValidationError as error:
        raise UserError("The data set could not be checked", remedy="One of its files may be made to harm") from error


def inspect_in_child(request: dict[str, Any], progress: Progress) -> tuple[Any, bytes]:
    """Check what a request describes, in the child: the report as plain data."""
    checking = inspect(TypeAdapter[DataConfig](DataConfig).validate_python(request["data"]), least=request["least"])
    while True:
        try:
            progress(*next(checking))
        except StopIteration as end:
            report: Report = end.value
            return report.to_json(), b""


def retried(report: Report, config: DataConfig, *, least: int = 1) -> Report:
    """Return `report` for the same files under other repairs: loaded again, and the problems marked that they mend."""
    tried = trial(config, least)
    problems = [one for one in report.problems if one.code != "refused"]
    problems = [replace(one, mended=one.is_mended(config)) for one in problems]
    if tried.refused:
        problems.insert(0, Problem.refused(tried.refused))
    pictures = [_redrawn(item, report.drawn_up, _up(config)) for item in report.pictures]
    return replace(report, trial=tried, problems=problems, pictures=pictures, drawn_up=_up(config))


def _up(config: DataConfig) -> str:
    return config.preparation.up if isinstance(config.preparation, Preparation) else "y"


def _redrawn(item: Item, before: str, up: str) -> Item:
    """Return a picture's item with another axis up."""
    if before == up or item.preview is None or "points" not in item.preview:
        return item
    points = upright(lying(preview_points(item.preview), before), up)
    total = item.preview["total"]
    preview = {**cloud_preview(points, np.random.default_rng(0)), "total": total}
    return replace(item, preview=preview, picture=cloud_picture(points))


def with_settings(config: DataConfig, settings: dict[str, Any]) -> DataConfig:
    """Return the data set's config with settings such as {"repair.copies": "across"}."""
    content: dict[str, Any] = config.model_dump()
    for key, value in settings.items():
        *path, leaf = key.split(".")
        place = content
        for step in path:
            place = place[step]
        place[leaf] = value
    return TypeAdapter[DataConfig](DataConfig).validate_python(content)


def _told(step: Looked) -> tuple[str, int, int]:
    return "looking at files", step.done, step.total


def _report(config: DataConfig, items: list[Item], tried: Trial) -> Report:
    sound = [item for item in items if not item.fault]
    counts: dict[str, dict[str, int]] = {name: {} for name in tried.classes}
    for item in sound:
        row = counts.setdefault(item.label, {})
        row[item.part] = row.get(item.part, 0) + 1
    spreads: dict[str, Spread] = {}
    if config.modality == "points":
        spreads = _spreads(
            {
                "points": [item.points for item in sound],
                "longest side": [max(h - low for h, low in zip(item.high, item.low)) for item in sound],
                "radius": [item.radius for item in sound],
            }
        )
    else:
        spreads = _spreads({"width": [item.width for item in sound], "height": [item.height for item in sound]})
    return Report(
        kind=config.kind,
        modality=config.modality,
        title=title(config),
        inputs=len(items),
        usable=len(sound),
        counts=counts,
        parts=dict(Counter(item.part for item in sound)),
        spreads=spreads,
        up=asdict(up_axis([item.stands for item in sound])) if config.modality == "points" and sound else None,
        grey=sum(item.grey for item in sound),
        problems=[],
        trial=tried,
        pictures=[item for item in items if item.picture],
        drawn_up=_up(config),
    )


def _spreads(values: dict[str, list[float]] | dict[str, list[int]]) -> dict[str, Spread]:
    found: dict[str, Spread] = {}
    for name, each in values.items():
        if each:
            found[name] = Spread(float(min(each)), float(np.median(each)), float(max(each)))
    return found


def title(config: DataConfig) -> str:
    """Return what a data set is called: the name of its folder or file, else of its kind."""
    if isinstance(config, H5Data):
        return config.train.name
    path = getattr(config, "path", None)
    return path.name if path is not None else config.kind
