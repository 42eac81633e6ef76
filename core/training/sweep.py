"""A sweep: many runs that differ in method, data, seed or any setting, expanded from one plan and summed up in a table.

Pure: what runs, where and when is the business of others.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, cast

from pydantic import Field, ValidationError, field_validator

from ..bounded_text import check_bounds, read_yaml
from ..config import RunConfig, override, parse_config
from ..csv_text import csv_text
from ..errors import UserError
from ..schema import Config, explain, is_mapping

MAX_RUNS = 256
"""So many runs one sweep may have; more is almost always a mistake in the grid."""
SEED = "seed"
_PARTS = ("method", "data")

Coordinates = dict[str, Any]
"""Where a run is in its sweep: `method` and `data` as labels, each setting of the grid, and the seed."""


class SweepPlan(Config):
    """What a sweep is expanded from; every list that is empty stands for what `run` says."""

    run: dict[str, Any] = Field(default_factory=dict[str, Any], description="what all runs have in common")
    methods: tuple[dict[str, Any], ...] = Field(default=(), description="kinds, or mappings with a kind and settings")
    data: tuple[dict[str, Any], ...] = Field(default=(), description="kinds, or mappings with a kind and settings")
    seeds: tuple[int, ...] = Field(default=(), description="seeds of each combination")
    grid: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict[str, tuple[Any, ...]], description="any setting, and the values that it takes in turn"
    )

    @field_validator("methods", "data", mode="before")
    @classmethod
    def _kinds(cls, given: Any) -> Any:
        """A kind's name alone stands for that kind with its defaults."""
        given = [given] if isinstance(given, str) or is_mapping(given) else given
        return [{"kind": one} if isinstance(one, str) else one for one in given or ()]

    @field_validator("seeds", mode="before")
    @classmethod
    def _one_seed(cls, given: Any) -> Any:
        return [given] if isinstance(given, int) else given

    @field_validator("grid", mode="before")
    @classmethod
    def _one_value(cls, given: Any) -> Any:
        return {key: _several(one) for key, one in given.items()} if is_mapping(given) else given

    @property
    def count(self) -> int:
        """How many runs the lists multiply to, the impossible ones included."""
        count = max(1, len(self.methods)) * max(1, len(self.data)) * max(1, len(self.seeds))
        for values in self.grid.values():
            count *= max(1, len(values))
        return count


def _several(given: Any) -> Any:
    return cast("object", given) if isinstance(given, (list, tuple)) else [given]


@dataclass(frozen=True)
class Member:
    """One run of a sweep: `name` is also a folder's name, unique in the sweep."""

    name: str
    at: Coordinates
    config: RunConfig


@dataclass(frozen=True)
class Refused:
    """A combination that is no run, and why."""

    at: Coordinates
    reason: str


@dataclass(frozen=True)
class Expansion:
    """The runs of a plan in its order, and the combinations that are none."""

    members: tuple[Member, ...]
    refused: tuple[Refused, ...]


def parse_plan(content: Any, subject: str = "The sweep") -> SweepPlan:
    """Return a plan from nested plain data; UserError names the first key that does not fit."""
    if not is_mapping(content):
        raise UserError(f"{subject} is not a mapping of keys to values", got=type(content).__name__)
    check_bounds(content, name=subject)
    try:
        return SweepPlan.model_validate(content)
    except ValidationError as error:
        raise explain(error, subject) from error


def expand(plan: SweepPlan, check: Callable[[RunConfig], None] | None = None) -> Expansion:
    """Return the runs of a plan; `check` may raise UserError for one that cannot be run here.

    A method or data set of another kind than the common run's brings its own settings, a method its own head, too.
    UserError for too many runs, for a list that says something twice, and for a grid over what has its own list.
    """
    _check_lists(plan)
    methods: list[dict[str, Any] | None] = list(plan.methods) or [None]
    data: list[dict[str, Any] | None] = list(plan.data) or [None]
    labels = {"method": _labels(plan.methods), "data": _labels(plan.data)}
    seeds: list[int | None] = list(plan.seeds) or [None]
    members: list[Member] = []
    refused: list[Refused] = []
    seen: dict[str, Coordinates] = {}
    names: set[str] = set()
    for (i, method), (j, one), values, seed in itertools.product(
        enumerate(methods), enumerate(data), itertools.product(*plan.grid.values()), seeds
    ):
        content = _with_parts(plan.run, method, one)
        settings = [f"{key}={_written(value)}" for key, value in zip(plan.grid, values)]
        settings += [] if seed is None else [f"{SEED}={seed}"]
        at: Coordinates = {
            "method": labels["method"][i] if plan.methods else _name(_part(content, "method")),
            "data": labels["data"][j] if plan.data else _name(_part(content, "data")),
            **{key: _shown(value) for key, value in zip(plan.grid, values)},
        }
        try:
            config = parse_config(override(content, settings), "This combination")
            at[SEED] = config.seed
            if check is not None:
                check(config)
        except UserError as error:
            refused.append(Refused({**at, **({} if seed is None else {SEED: seed})}, str(error)))
            continue
        same = seen.setdefault(config.model_dump_json(), at)
        if same is not at:
            refused.append(Refused(at, f"This is the same run as {describe(same)}."))
            continue
        name = _unique(_slug(describe(at)), names)
        members.append(Member(name, at, config))
    return Expansion(tuple(members), tuple(refused))


def _check_lists(plan: SweepPlan) -> None:
    if plan.count > MAX_RUNS:
        raise UserError(
            "The sweep has too many runs",
            got=plan.count,
            expected=f"at most {MAX_RUNS}",
            remedy="Take fewer values or seeds, or make two sweeps",
        )
    lists: dict[str, Sequence[Any]] = {"methods": plan.methods, "data": plan.data, "seeds": plan.seeds, **plan.grid}
    for key, values in lists.items():
        if key in plan.grid and not values:
            raise UserError(f"The sweep gives no value for {key}", remedy="Give values, or leave it out")
        written = [json.dumps(value, sort_keys=True, default=str) for value in values]
        twice = next((values[i] for i, one in enumerate(written) if one in written[:i]), None)
        if twice is not None:
            raise UserError(f"The sweep names a value of {key} twice", got=twice, remedy="Name it once")
    for key, own in (("method", "methods"), ("data", "data"), (SEED, "seeds")):
        for named in (key, f"{key}.kind"):
            if named in plan.grid:
                raise UserError(f"The grid has {named}", expected=f"the list `{own}` for that")


def _with_parts(run: dict[str, Any], method: dict[str, Any] | None, data: dict[str, Any] | None) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(run, default=str))
    for part, given in (("method", method), ("data", data)):
        if given is None:
            continue
        before = content.get(part)
        kind = before.get("kind") if is_mapping(before) else None
        if part == "method" and kind != given.get("kind") and is_mapping(content.get("head")):
            content["head"].pop("parts", None)  # the parts of one method's head are not another's
        content[part] = {**before, **given} if is_mapping(before) and kind == given.get("kind") else dict(given)
    return content


def _written(value: Any) -> str:
    return json.dumps(value, default=str)


def _shown(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) or value is None else json.dumps(value, default=str)


_NAMING = ("path", "train", "repository", "task")


def _part(content: dict[str, Any], part: str) -> dict[str, Any]:
    given: Any = content.get(part)
    return given if is_mapping(given) and "kind" in given else {"kind": RunConfig.model_fields[part].default.kind}


def _name(entry: Mapping[str, Any]) -> str:
    """What a method or data set is called in a table: its kind, or the name of its folder, file or task."""
    named = next((entry[key] for key in reversed(_NAMING) if entry.get(key)), None)
    return Path(str(named)).name if named else str(entry.get("kind", "?"))


def _labels(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each entry, with its settings where the name alone would not tell it from another."""
    names = [_name(entry) for entry in entries]
    found: list[str] = []
    for entry, name in zip(entries, names):
        if names.count(name) > 1:
            skipped = ("kind", *_NAMING)
            words = [f"{key}={_shown(value)}" for key, value in entry.items() if key not in skipped]
            name = " ".join([name, *words])
        label, number = name, 2
        while label in found:
            label, number = f"{name} ({number})", number + 1
        found.append(label)
    return found


def describe(at: Coordinates) -> str:
    """Return a run's place in words: `dapt on demo, optim.lr 0.001, seed 0`."""
    rest = [f"{key} {value}" for key, value in at.items() if key not in _PARTS]
    return ", ".join([f"{at.get('method', '?')} on {at.get('data', '?')}", *rest])


def _slug(text: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in text.replace(",", ""))
    while "--" in kept:
        kept = kept.replace("--", "-")
    return kept.strip("-.")[:100] or "run"


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    taken.add(found)
    return found


State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Outcome(Config):
    """What is known of one run of a sweep. Accuracies in 0..1 (mIoU where `metric` says so), memory in bytes."""

    at: Coordinates
    state: State
    run: str = ""
    test: float | None = None
    validation: float | None = None
    trainable: int | None = None
    seconds: float | None = None
    memory: int | None = None
    metric: str = "accuracy"
    error: str = ""


@dataclass(frozen=True)
class Stat:
    """Mean and standard deviation of the sample (ddof 1; None below two values) over the seeds."""

    mean: float
    std: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float | int | None]) -> Stat | None:
        """Return the statistics of what is known; None where nothing is."""
        known = [float(value) for value in values if value is not None]
        return cls(fmean(known), stdev(known) if len(known) > 1 else None, len(known)) if known else None


@dataclass(frozen=True)
class Combination:
    """All seeds of one combination: `at` is its place without the seed."""

    at: Coordinates
    runs: tuple[Outcome, ...]
    test: Stat | None
    validation: Stat | None
    trainable: Stat | None
    seconds: Stat | None
    memory: Stat | None

    @property
    def done(self) -> int:
        return sum(run.state == "succeeded" for run in self.runs)


def place_of(at: Coordinates) -> str:
    """Return a run's place as a text that is the same for the same place."""
    return json.dumps(at, sort_keys=True)


def summarise(outcomes: Sequence[Outcome]) -> list[Combination]:
    """Return the combinations in the order in which they first come; only runs that succeeded count in the means."""
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(place_of(_without_seed(one.at)), []).append(one)
    found: list[Combination] = []
    for runs in groups.values():
        done = [run for run in runs if run.state == "succeeded"]
        found.append(
            Combination(
                _without_seed(runs[0].at),
                tuple(runs),
                Stat.of([run.test for run in done]),
                Stat.of([run.validation for run in done]),
                Stat.of([run.trainable for run in done]),
                Stat.of([run.seconds for run in done]),
                Stat.of([run.memory for run in done]),
            )
        )
    return found


def _without_seed(at: Coordinates) -> Coordinates:
    return {key: value for key, value in at.items() if key != SEED}


def varied(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the coordinates that a table needs: method always, the others where they differ; the seed never."""
    keys = list(dict.fromkeys(key for one in outcomes for key in one.at if key != SEED))
    return [key for key in keys if key == "method" or len({str(one.at.get(key)) for one in outcomes}) > 1]


_RUN_COLUMNS = ("state", "test", "validation", "trainable", "seconds", "memory", "metric", "run", "error")


def runs_csv(outcomes: Sequence[Outcome]) -> str:
    """Return one line for each run, numbers in full precision."""
    keys = list(dict.fromkeys(key for one in outcomes for key in one.at))
    rows = [[one.at.get(key, "") for key in keys] + [getattr(one, name) for name in _RUN_COLUMNS] for one in outcomes]
    return csv_text([*keys, *_RUN_COLUMNS], rows)


def means_csv(outcomes: Sequence[Outcome]) -> str:
    """Return one line for each combination: how many runs, how many are done, mean and deviation of each number."""
    keys = list(dict.fromkeys(key for one in outcomes for key in one.at if key != SEED))
    names = ("test", "validation", "trainable", "seconds", "memory")
    rows: list[list[Any]] = []
    for one in summarise(outcomes):
        row: list[Any] = [one.at.get(key, "") for key in keys] + [len(one.runs), one.done]
        for name in names:
            stat: Stat | None = getattr(one, name)
            row += [stat.mean, stat.std] if stat else [None, None]
        rows.append(row)
    return csv_text([*keys, "runs", "done", *(f"{name}_{how}" for name in names for how in ("mean", "std"))], rows)


def spread(stat: Stat | None, scale: float = 1.0, digits: int = 1) -> tuple[str, str]:
    """Return (mean, deviation) as texts; empty where there is none."""
    if stat is None:
        return "", ""
    return f"{scale * stat.mean:.{digits}f}", "" if stat.std is None else f"{scale * stat.std:.{digits}f}"


def latex(outcomes: Sequence[Outcome]) -> str:
    r"""Return the table of means for `\usepackage{booktabs}`; the best test mean of each data set is bold."""
    keys, found = varied(outcomes), summarise(outcomes)
    best: dict[str, float] = {}
    for one in found:
        if one.test:
            data = str(one.at.get("data"))
            best[data] = max(best.get(data, 0.0), one.test.mean)
    metric = next((run.metric for one in found for run in one.runs if run.state == "succeeded"), "accuracy")
    head = [*keys, "params (M)", f"val. {metric} (%)", f"test {metric} (%)", "time (s)", "memory (MB)"]
    lines = [rf"\begin{{tabular}}{{{'l' * len(keys)}rrrrr}}", r"\toprule"]
    lines += [" & ".join(_tex(name) for name in head) + r" \\", r"\midrule"]
    for one in found:
        test = _pm(one.test, 100)
        if one.test and one.test.mean == best[str(one.at.get("data"))]:
            test = rf"\textbf{{{test}}}"
        cells = [_tex(str(one.at.get(key, ""))) for key in keys]
        cells += [_pm(one.trainable, 1e-6, 3, spread_too=False), _pm(one.validation, 100), test]
        cells += [_pm(one.seconds, 1, 0), _pm(one.memory, 1e-6, 0)]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _pm(stat: Stat | None, scale: float, digits: int = 1, *, spread_too: bool = True) -> str:
    mean, deviation = spread(stat, scale, digits)
    if not mean:
        return "--"
    return rf"${mean} \pm {deviation}$" if deviation and spread_too else f"${mean}$"


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign) or (f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text)


def values_of(text: str) -> list[Any]:
    """Return the values of one line such as `0.001, 5e-4`, `true, false` or `[cls], [cls, patch-max]`, read as YAML."""
    try:
        values: Any = read_yaml(f"[{text}]", name="The list of values")
    except UserError as error:
        raise UserError("These are no values", got=text, expected="values with commas, e.g. 0.001, 0.0005") from error
    return [_number(value) for value in values]


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value
