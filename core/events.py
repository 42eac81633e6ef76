"""What a run says while it goes on: small typed events, in order, each one line of JSON."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import Field, TypeAdapter

from .schema import Config

Metric = Literal["accuracy", "mIoU"]
"""What fields called accuracy hold: the share of inputs that are right, or, where points have parts, the mean over
clouds of the mean intersection over union of their parts."""


class Stage(Config):
    """The run entered a named stage: `data`, `backbone`, `train`, `test`, `save`; or is further within it."""

    kind: Literal["stage"] = "stage"
    stage: str
    message: str = ""
    done: int | None = Field(default=None, description="bytes of a download, or items of a data set, so far")
    total: int | None = None


class Note(Config):
    """A line for the log that a person reads; `warning` asks for attention."""

    kind: Literal["note"] = "note"
    message: str
    level: Literal["info", "warning"] = "info"


class Plan(Config):
    """Known once data and model are built: sizes of what is about to happen."""

    kind: Literal["plan"] = "plan"
    trainable: int
    total: int
    adapter_bytes: int
    classes: tuple[str, ...]
    train_clouds: int
    validation_clouds: int
    test_clouds: int
    epochs: int
    steps_per_epoch: int
    device: str
    precision: str
    noun: str = Field(default="clouds", description="what the inputs are called")
    metric: Metric = "accuracy"
    part_names: tuple[tuple[str, ...], ...] = Field(default=(), description="of each class's objects, if any")
    memory: str = Field(default="", description="how gradients are made, e.g. `fast` or `two-phase in 4`")


class Step(Config):
    """One optimiser step. `step` counts from 1 over the whole run; `loss` is the mean over the batch."""

    kind: Literal["step"] = "step"
    step: int
    epoch: int
    loss: float
    lr: float
    grad_norm: float
    clouds_per_second: float
    eta_seconds: float


class Epoch(Config):
    """One finished epoch (counted from 1). Accuracies in 0..1; validation is None where there is none."""

    kind: Literal["epoch"] = "epoch"
    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = Field(default=None, description="only under the papers' best-on-test protocol")
    lr: float
    metric: Metric = "accuracy"
    best: bool = False
    seconds: float
    peak_memory_bytes: int = 0


class Checkpoint(Config):
    """The run can resume from here: written, synced and renamed into place."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    epoch: int


class Scores(Config):
    """Result on one split. `confusion[i][j]` counts clouds of class i that were called j.

    Where points have parts, `accuracy` is the mIoU over clouds, `mean_class_accuracy` over classes, and `per_part` the
    mean over the clouds in which a part is or was answered; there is no confusion then.
    """

    kind: Literal["scores"] = "scores"
    split: Literal["validation", "test"]
    accuracy: float
    loss: float
    mean_class_accuracy: float
    per_class: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...] = ()
    metric: Metric = "accuracy"
    point_accuracy: float | None = Field(default=None, description="share of points whose part is right")
    per_part: tuple[float | None, ...] = ()


class Finished(Config):
    """The last event of a run that ended well; `adapter` is the folder's name inside the run's folder."""

    kind: Literal["finished"] = "finished"
    best_epoch: int
    epochs: int
    validation_accuracy: float | None
    test_accuracy: float | None
    selected_on: Literal["validation", "test", "last"]
    adapter: str
    adapter_bytes: int
    trainable: int
    seconds: float
    metric: Metric = "accuracy"


class Pretrained(Config):
    """The last event of a pre-training: the backbone's file inside the folder, its hash, the last epoch's loss."""

    kind: Literal["pretrained"] = "pretrained"
    file: str
    sha256: str
    loss: float
    epochs: int
    seconds: float


class FoundPlan(Config):
    """A NOAH plan that a search has judged: `plan` by block, `parameters` without head, `accuracy` on validation."""

    plan: tuple[str, ...]
    parameters: int
    accuracy: float
    loss: float
    generation: int


class Generation(Config):
    """A search judged one more plan: the `done`th of `planned` in this population (counted from 1)."""

    kind: Literal["generation"] = "generation"
    generation: int
    generations: int
    done: int
    planned: int
    tried: int
    best: FoundPlan


class Searched(Config):
    """The last event of a search: the best plans, best first, and the file in the folder that trains the first."""

    kind: Literal["searched"] = "searched"
    file: str
    plans: tuple[FoundPlan, ...]
    tried: int
    generations: int
    max_parameters: int


class Idle(Config):
    """An expert that hardly any sub-token chooses: in `block` (counted from 0), or in all of them together."""

    expert: int
    block: int | None = None


class Routed(Config):
    """Where a router sends the sub-tokens of a fixed few inputs, in evaluation mode. Blocks and experts count from 0.

    `load[b][e]` is the share of block b's sub-tokens whose first choice is expert e, `entropy[b]` the mean entropy of
    its gates in nats (log of the number of experts: undecided). `per_class[c][e]` is the share of class c's sub-tokens,
    over all blocks; None where no input is of this class, empty where it would be long.
    """

    kind: Literal["routed"] = "routed"
    epoch: int = Field(description="after which; 0: before the first step")
    kept: bool = Field(default=False, description="of the epoch that was kept, told once at the end")
    inputs: int
    shared: bool = Field(description="all blocks have the same experts")
    load: tuple[tuple[float, ...], ...]
    entropy: tuple[float, ...]
    per_class: tuple[tuple[float, ...] | None, ...] = ()
    by_block: tuple[tuple[tuple[float, ...] | None, ...], ...] = Field(
        default=(), description="per_class of each block, where kept"
    )
    idle: tuple[Idle, ...] = ()


class Scaled(Config):
    """DAPT's dynamic scales over the tokens of a fixed few inputs, block by block, in evaluation mode.

    `quantiles[b]` are those at 5, 25, 50, 75 and 95 %; `off[b]` is the share of tokens whose scale is 0, which the
    adapter leaves as they are.
    """

    kind: Literal["scaled"] = "scaled"
    epoch: int = Field(description="after which; 0: before the first step")
    kept: bool = Field(default=False, description="of the epoch that was kept, told once at the end")
    inputs: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    off: tuple[float, ...]


class Interrupted(Config):
    """The run was asked to stop; it can resume from the last checkpoint."""

    kind: Literal["interrupted"] = "interrupted"
    step: int
    epoch: int


Event = Annotated[
    Union[
        Stage,
        Note,
        Plan,
        Step,
        Epoch,
        Checkpoint,
        Scores,
        Routed,
        Scaled,
        Finished,
        Pretrained,
        Generation,
        Searched,
        Interrupted,
    ],
    Field(discriminator="kind"),
]
parse_event: TypeAdapter[Event] = TypeAdapter(Event)
