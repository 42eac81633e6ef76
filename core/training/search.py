"""The search for a NOAH plan: train a supernet, then evolve plans by their accuracy on the validation part.

Read in ZhangYuanhan-AI/NOAH (evolution.py at 7c03a2c, the VTAB scripts beside it): 15 populations of 50; the ten best
of all so far are parents; for half of the next population a parent is mutated, for half two are crossed, and random
plans fill up; a plan is tried once, if its parameters stay below a limit (head not counted; 0.64 M by default).
Mutation there re-draws only how deep a part reaches; sizes come anew where it grows, or from other plans. The supernet
is trained for 500 epochs at 5e-4 on 800 images and judged on 200 others, the plan found is trained for 100 epochs at
1e-3 on all 1,000, from the pre-trained backbone: it inherits nothing of the supernet. The same holds here.

Different here: equal accuracies are told apart by loss, then by parameters; the search ends when nothing new can be
drawn, where NOAH's would not; the last population counts. `core.peft.noah.inherit` makes a plan's model with the
supernet's weights for those who want them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import yaml
from pydantic import Field, ValidationError, model_validator

from ..config import RunConfig, read_yaml
from ..data.load import load
from ..durable import write_synced
from ..errors import UserError
from ..events import Event, FoundPlan, Generation, Interrupted, Note, Searched, Stage
from ..models.trunk import TrunkShape
from ..peft.noah import (
    NOAH,
    PARTS,
    BlockPlan,
    NOAHConfig,
    Part,
    Plan,
    count_parameters,
    depths,
    draw_depth,
    draw_plan,
    draw_sizes,
    from_columns,
)
from ..schema import Config, explain
from .device import pick_device
from .train import Trainer, never
from .weights import fetch_weights

RESULT_NAME, STATE_NAME = "found.yaml", "search.json"
_ATTEMPTS = 100
"""Draws per wanted random plan before a population is taken to be full."""


class SearchConfig(Config):
    """A search and the run that it is for: backbone, data, and the schedule with which the plan found is trained."""

    run: RunConfig = Field(description="with the method noah; its plan is replaced by the one found")
    max_parameters: int = Field(default=640_000, ge=1, description="most parameters of a plan, head not counted")
    generations: int = Field(default=15, ge=1, le=1000, description="populations, the first of them random")
    population: int = Field(default=50, ge=1, le=10000, description="plans in each")
    parents: int = Field(default=10, ge=1, le=1000, description="best plans so far that the next come from")
    mutated: float = Field(default=0.5, ge=0, le=1, description="share of a population that is mutated")
    crossed: float = Field(default=0.5, ge=0, le=1, description="share of a population that is crossed")
    mutate: float = Field(default=0.2, ge=0, le=1, description="chance of each of the three parts to be mutated")
    redepth: float = Field(default=0.4, ge=0, le=1, description="chance that such a part's depth is drawn anew")
    supernet_epochs: int | None = Field(
        default=None, ge=1, le=100000, description="epochs of the supernet; empty: five times the run's, as NOAH"
    )
    supernet_lr: float | None = Field(
        default=None, gt=0, le=1, description="its peak learning rate; empty: half the run's, as NOAH"
    )

    @model_validator(mode="after")
    def _fits(self) -> SearchConfig:
        if not isinstance(self.run.method, NOAHConfig):
            raise UserError(
                "Only plans of the method noah can be searched", got=self.run.method.kind, remedy="Choose method noah"
            )
        if self.run.data.unvalidated:
            raise UserError(
                f"Plans are judged on the validation part, and {self.run.data.unvalidated}",
                remedy="Hold out a part of the training data",
            )
        least = count_parameters(smallest(self.method, len(self.shape.blocks)), self.shape)
        if least > self.max_parameters:
            raise UserError(
                "No plan has so few parameters",
                got=self.max_parameters,
                expected=f"max_parameters of at least {least}",
                remedy="Raise max_parameters, or add a smaller number to method.sizes",
            )
        return self

    @property
    def method(self) -> NOAHConfig:
        assert isinstance(self.run.method, NOAHConfig)
        return self.run.method

    @property
    def shape(self) -> TrunkShape:
        return self.run.backbone.shape

    def supernet(self) -> RunConfig:
        """Return the run that trains the supernet; no epoch of it is chosen."""
        run = self.run
        lr = self.supernet_lr if self.supernet_lr is not None else run.optim.lr / 2
        return run.model_copy(
            update={
                "method": self.method.model_copy(update={"plan": None}),
                "epochs": self.supernet_epochs or 5 * run.epochs,
                "optim": run.optim.model_copy(update={"lr": lr}),
                "select": "last",
                "patience": None,
            }
        )

    def with_plan(self, plan: Plan) -> RunConfig:
        """Return the run that trains one plan afresh."""
        return self.run.model_copy(update={"method": self.method.model_copy(update={"plan": plan})})

    def to_yaml(self) -> str:
        """Return the search as YAML, only what differs from the defaults."""
        content = json.loads(self.model_dump_json(exclude_defaults=True, exclude={"run"}))
        return yaml.safe_dump({"run": self.run.to_dict(), **content}, sort_keys=False)


def read_search(path: Path) -> SearchConfig:
    """Read a SearchConfig from a YAML file; UserError says what does not fit."""
    try:
        return SearchConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        raise explain(error, path.name) from error


def search(
    config: SearchConfig, folder: Path, *, device: str = "auto", stop: Callable[[], bool] = never
) -> Iterator[Event]:
    """Train a supernet, search it, and yield what happens; ends with `Searched`, or `Interrupted` after `stop`.

    Goes on where the folder's checkpoint and its `search.json` end, on the CPU with the very numbers of an
    uninterrupted search. The best plan is written to `folder/found.yaml` as a run, to be trained afresh; the supernet
    to `folder/adapter`. The test part is not looked at. UserError as `train`, and where nothing is held out.
    """
    run = config.run
    yield Stage(stage="data", message=f"Loading {run.data.kind}")
    dataset = load(run.data, least=run.backbone.least_points)
    for note in dataset.notes:
        yield Note(message=note)
    if not dataset.validation:
        raise UserError("Plans are judged on the validation part, and there is none", remedy="Hold out a share")
    if not (yield from fetch_weights(run.backbone, stop)):
        yield Interrupted(step=0, epoch=0)
        return
    yield Stage(stage="backbone", message=f"Loading {run.backbone.kind}")
    untested = dataclasses.replace(dataset, test=None)
    trainer = Trainer(config.supernet(), folder, untested, pick_device(device))
    for event in trainer.run(stop):
        if event.kind == "finished":
            break
        yield event
        if event.kind == "interrupted":
            return
    yield from Evolution(config, folder, trainer).run(stop)


class Evolution:
    """Populations of plans, each plan judged once by the trained supernet; what was judged is kept on the disk."""

    def __init__(self, config: SearchConfig, folder: Path, trainer: Trainer) -> None:
        self.config, self.folder, self.trainer = config, folder, trainer
        assert isinstance(trainer.model.method, NOAH) and trainer.dataset.validation
        self.supernet = trainer.model.method
        self.feed = trainer.dataset.validation.feed(trainer.device)
        self.tried = self._read()

    def run(self, stop: Callable[[], bool]) -> Iterator[Event]:
        config = self.config
        if self.tried:
            yield Note(message=f"{len(self.tried)} plans have been judged before")
        yield Stage(stage="search", message=f"{config.generations} populations of {config.population} plans")
        for number in range(config.generations):
            earlier = [found for found in self.tried.values() if found.generation < number]
            rng = np.random.default_rng([config.run.seed, 4, number])
            plans = propose(config, rng, earlier)
            for done, plan in enumerate(plans, start=1):
                if stop():
                    yield Interrupted(step=self.trainer.state.step, epoch=self.trainer.state.epoch)
                    return
                if plan not in self.tried:
                    self._judge(plan, number)
                    yield self._generation(number, done, len(plans))
        self.supernet.choose(None)
        yield self._finish()

    def _judge(self, plan: Plan, generation: int) -> None:
        self.supernet.choose(plan)
        scores = self.trainer.task.score(self.trainer.model, self.feed, "validation")
        self.tried[plan] = FoundPlan(
            plan=tuple(map(str, plan)),
            parameters=count_parameters(plan, self.config.shape),
            accuracy=scores.accuracy,
            loss=scores.loss,
            generation=generation,
        )
        found = [one.model_dump() for one in self.tried.values()]
        content = {"config": self.config.model_dump_json(), "found": found}
        write_synced(self.folder / STATE_NAME, json.dumps(content).encode())

    def _read(self) -> dict[Plan, FoundPlan]:
        """Return what was judged before; UserError when it was another search."""
        path = self.folder / STATE_NAME
        if not path.is_file():
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["config"] != self.config.model_dump_json():
            raise UserError(
                f"The search in {self.folder} had another configuration",
                remedy="Go on with the same configuration, or use a new folder",
            )
        found = [FoundPlan.model_validate(one) for one in content["found"]]
        return {plan_of(one): one for one in found}

    def _generation(self, number: int, done: int, planned: int) -> Generation:
        return Generation(
            generation=number + 1,
            generations=self.config.generations,
            done=done,
            planned=planned,
            tried=len(self.tried),
            best=best_of(self.tried.values())[0],
        )

    def _finish(self) -> Searched:
        """Write the best plan as a run; the supernet's weights stay with the supernet."""
        best = best_of(self.tried.values())
        run = self.config.with_plan(plan_of(best[0]))
        write_synced(self.folder / RESULT_NAME, run.to_yaml().encode())
        return Searched(
            file=RESULT_NAME,
            plans=tuple(best[: self.config.parents]),
            tried=len(self.tried),
            generations=self.config.generations,
            max_parameters=self.config.max_parameters,
        )


def best_of(found: Iterable[FoundPlan]) -> list[FoundPlan]:
    """Return plans by accuracy, best first; those of one accuracy by loss, then by parameters."""
    return sorted(found, key=lambda one: (-one.accuracy, one.loss, one.parameters))


def plan_of(found: FoundPlan) -> Plan:
    return tuple(BlockPlan.model_validate(block) for block in found.plan)


def smallest(method: NOAHConfig, blocks: int) -> Plan:
    """Return the plan with the fewest parameters that can be drawn."""
    depth = depths(blocks)[0]
    return from_columns({part: [method.sizes[0]] * depth + [0] * (blocks - depth) for part in PARTS})


def propose(config: SearchConfig, rng: np.random.Generator, earlier: list[FoundPlan]) -> list[Plan]:
    """Return the plans of the next population: all below the limit, none of them tried before.

    They follow from `earlier` and the generator alone, so a population that was interrupted is drawn again the same.
    """
    blocks, sizes, limit = len(config.shape.blocks), config.method.sizes, config.max_parameters
    seen = {plan_of(one) for one in earlier}
    parents = [plan_of(one) for one in best_of(earlier)[: config.parents]]
    chosen: list[Plan] = []

    def fill(count: int, attempts: int, draw: Callable[[], Plan]) -> None:
        """Take drawn plans that fit until `count` are chosen in all."""
        while len(chosen) < count and attempts > 0:
            attempts -= 1
            plan = draw()
            if plan not in seen and count_parameters(plan, config.shape) <= limit:
                seen.add(plan)
                chosen.append(plan)

    if parents:
        mutated, crossed = (int(config.population * share) for share in (config.mutated, config.crossed))
        fill(mutated, 10 * mutated, lambda: mutate(config, rng, _one_of(rng, parents)))
        both = min(config.population, len(chosen) + crossed)
        fill(both, 10 * crossed, lambda: cross(rng, _one_of(rng, parents), _one_of(rng, parents)))
    fill(config.population, _ATTEMPTS * config.population, lambda: draw_plan(rng, sizes, blocks))
    return chosen or ([] if earlier else [smallest(config.method, blocks)])


def _one_of(rng: np.random.Generator, parents: list[Plan]) -> Plan:
    return parents[rng.integers(len(parents))]


def mutate(config: SearchConfig, rng: np.random.Generator, plan: Plan) -> Plan:
    """Return the plan with, by chance, parts that reach less far, or further with sizes drawn for the new blocks."""
    blocks = len(plan)
    columns: dict[Part, list[int]] = {}
    for part in PARTS:
        column = [block.size(part) for block in plan]
        if rng.random() < config.mutate and rng.random() < config.redepth:
            depth = draw_depth(rng, blocks)
            reached = [*column, 0].index(0)
            grown = draw_sizes(rng, config.method.sizes, max(0, depth - reached))
            column = [*column[: min(reached, depth)], *grown]
        columns[part] = column + [0] * (blocks - len(column))
    return from_columns(columns)


def cross(rng: np.random.Generator, first: Plan, second: Plan) -> Plan:
    """Return a plan that has each of the three parts, in all blocks, from one of two plans."""
    columns: dict[Part, list[int]] = {
        part: [block.size(part) for block in (first, second)[rng.integers(2)]] for part in PARTS
    }
    return from_columns(columns)
