"""The trainer: a generator of events that the command line, the worker, a notebook and a test all loop over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..adapters import describe, save_adapter
from ..building import build
from ..config import RunConfig
from ..data.dataset import Dataset
from ..errors import UserError
from ..events import Checkpoint, Epoch, Event, Finished, Interrupted, Note, Plan, Scores, Stage, Step
from ..fast.accelerate import accelerate
from .answers import write_answers
from .checkpoint import Checkpoints, State
from .choice import DryRun, choose
from .device import pick_device, pick_precision, precision_note
from .features import Features
from .gradients import Gradients, Way, least_mode, way_of
from .graph import GraphedStep, check_graph
from .loading import load_data
from .memory import peak_bytes, restart_peak
from .optimizer import make_optimizer
from .routes import Observer
from .schedule import learning_rate
from .stepping import Steps, seed_step
from .task import task_of
from .weights import fetch_weights


def never() -> bool:
    """The default of `stop`: go on to the end."""
    return False


def train(
    config: RunConfig, folder: Path, *, device: str = "auto", stop: Callable[[], bool] = never
) -> Iterator[Event]:
    """Fine-tune as `config` says and yield what happens; ends with `Finished`, or `Interrupted` after `stop`.

    Resumes from `folder/checkpoint` where one exists, on the CPU with the very numbers of an uninterrupted run.
    The adapter is written to `folder/adapter`. UserError for what the user can mend, `Diverged` when the loss is
    no longer finite.
    """
    where = pick_device(device)
    if not (yield from fetch_weights(config.backbone, stop)):  # before the data: what is missing is said at once
        yield Interrupted(step=0, epoch=0)
        return
    yield Stage(stage="data", message=f"Loading {config.data.kind}")
    dataset = yield from load_data(config.data, config.backbone.least_points, stop)
    if dataset is None:
        yield Interrupted(step=0, epoch=0)
        return
    for note in dataset.notes:
        yield Note(message=note)
    if config.unused:
        yield Note(message=config.unused, level="warning")
    yield Stage(stage="backbone", message=f"Loading {config.backbone.kind}")
    yield from Trainer(config, folder, dataset, where).run(stop)


class Trainer:
    """One run: model, data on the device, optimiser and where it stands."""

    def __init__(self, config: RunConfig, folder: Path, dataset: Dataset, device: torch.device) -> None:
        self.config, self.folder, self.dataset, self.device = config, folder, dataset, device
        self.task = task_of(dataset)
        self.precision = pick_precision(config.precision, device)
        self.built = build(config, len(dataset.classes), sum(map(len, dataset.part_names)))
        self.model = self.built.model.to(device)
        if config.fast:
            accelerate(self.model, self.precision, device)
        self.gradients = Gradients(self.model, self.task, self.precision, device)
        optim = config.optim
        self.optimizer = make_optimizer(self.model, optim.lr, optim.weight_decay, device if config.graph else None)
        self.waits = device.type == "cpu"  # for each step's numbers: a GPU must not
        self.steps = Steps(self.optimizer, [p for _, p in self.model.trainable()], optim.clip)
        self.learn = GraphedStep(self._learn, self.model, self.optimizer) if config.graph else self._learn
        self.checkpoints = Checkpoints(folder)
        self.feed = dataset.train.feed(device)
        self.features = Features(self.model, config, self.precision, device)
        self.batch = min(config.batch_size, len(dataset.train))
        if self.batch < 2:
            raise UserError(f"Too few training {dataset.train.noun}", got=len(dataset.train), expected="at least 2")
        self.gradients.take(way_of(config, least_mode(config), self.batch, device))
        if config.graph:
            check_graph(self.model, self.gradients.way, device)
        self.steps_per_epoch = len(dataset.train) // self.batch
        self.state = State(config=config.model_dump_json())
        self.observer = Observer(self.model, dataset, config.seed, device)
        self.started = time.perf_counter()
        self.saved = self.started

    def run(self, stop: Callable[[], bool]) -> Iterator[Event]:
        config = self.config
        sizes = self.built.sizes
        found = self.checkpoints.read(self.state.config, RunConfig)
        if found:
            self.state = found
            self.checkpoints.restore(found, self.model, self.optimizer)
        self.feed = self.features.to_train(self.feed)
        yield from self._choose_way()
        if config.graph:
            check_graph(self.model, self.gradients.way, self.device)
        restart_peak(self.device)
        yield Plan(
            trainable=sizes.trainable,
            total=sizes.total,
            adapter_bytes=sizes.adapter_bytes,
            classes=self.dataset.classes,
            train_clouds=len(self.dataset.train),
            validation_clouds=len(self.dataset.validation or ()),
            test_clouds=len(self.dataset.test or ()),
            epochs=config.epochs,
            steps_per_epoch=self.steps_per_epoch,
            device=str(self.device),
            precision=self.precision,
            noun=self.dataset.train.noun,
            metric=self.task.metric,
            part_names=self.dataset.part_names,
            memory=str(self.gradients.way),
        )
        if found:
            yield Note(message=f"Resumed after step {found.step} (epoch {found.epoch + 1})")
        if note := precision_note(config.precision, self.device):
            yield Note(message=note, level="warning")
        yield Stage(
            stage="train", message=f"{self.batch} {self.dataset.train.noun} a step on {self.device}, {self.precision}"
        )
        if not self.state.step:
            yield from self.observer.look(0)
        while not self.state.finished:
            yield from self._epoch(stop)
            if stop() and not self.state.finished:
                yield from self._interrupt()
                return
        yield from self._finish()

    def _choose_way(self) -> Iterator[Note]:
        """Take the way to the gradients that the run was begun with, or choose it; it is part of the numbers."""
        if self.state.memory:
            self.gradients.take(Way.parse(self.state.memory))
            return
        if self.features.once:
            return  # the head alone trains
        if self.state.step:
            return  # a checkpoint from before there was a choice
        dry = DryRun(self.gradients, self._first_inputs)
        way, why, trouble = choose(self.config, dry, self.batch)
        for message in (why, trouble, self.gradients.take(way)):
            if message:
                yield Note(message=message, level="info" if message == why else "warning")
        self.state.memory = str(self.gradients.way)

    def _first_inputs(self, count: int) -> tuple[Tensor, Tensor]:
        index = np.arange(count) % len(self.dataset.train)
        inputs = next(iter(self.feed.batches([index])))
        return inputs, self.feed.labels[torch.from_numpy(index).to(self.device)]

    def _epoch(self, stop: Callable[[], bool]) -> Iterator[Event]:
        """Train the rest of the current epoch, judge it, and write a checkpoint; return early when asked to stop."""
        state, config = self.state, self.config
        order = np.random.default_rng([config.seed, 1, state.epoch]).permutation(len(self.dataset.train))
        left = [order[i * self.batch : (i + 1) * self.batch] for i in range(state.batch, self.steps_per_epoch)]
        places = torch.from_numpy(np.array(left, dtype=np.int64).reshape(-1, self.batch)).to(self.device)
        every = max(1, self.steps_per_epoch // 20)
        self.model.train()
        begun = time.perf_counter()
        for inputs, place in zip(self.feed.batches(left), places):
            if stop():
                self._count(begun)
                return
            lr = self._step(inputs, self.feed.labels.index_select(0, place))
            state.batch, state.step = state.batch + 1, state.step + 1
            told = state.batch % every == 0 or state.batch == self.steps_per_epoch
            saved = time.perf_counter() - self.saved > config.checkpoint_seconds and state.batch < self.steps_per_epoch
            if not (told or saved or self.waits):
                continue
            (loss, norm), took = self._count(begun)
            if told:
                yield self._step_event(loss, lr, norm, took)
            if saved:
                yield self._checkpoint()
            begun = time.perf_counter()
        yield from self._judge()

    def _step(self, inputs: Tensor, labels: Tensor) -> float:
        """Take one optimiser step on a batch, whose numbers `_count` reads; return the learning rate."""
        config, state = self.config, self.state
        generator = seed_step(config.seed, state.step, self.device)
        inputs = inputs if self.features.once else config.data.vary(inputs, config.augment, generator)
        lr = learning_rate(config.optim, step=state.step, steps_per_epoch=self.steps_per_epoch, epochs=config.epochs)
        self.steps.set_learning_rate(lr)
        self.model.method.begin_step(np.random.default_rng([config.seed, 3, state.step]))
        self.steps.keep(state.step + 1, self.learn(inputs, labels))
        return lr

    def _learn(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return (loss, summed metric, gradient norm) of the step on this batch: what a graph records."""
        return self.steps.advance(*self._backward(inputs, labels))

    def _count(self, begun: float) -> tuple[tuple[float, float], float]:
        """Add the steps since the last time to the epoch's sums; return the last one's loss and norm, and seconds each.

        Waits for the device. Diverged where a number is not finite.
        """
        state, last = self.state, (0.0, 0.0)
        rows = self.steps.read()
        for loss, correct, norm in rows:
            state.loss_sum, state.correct = state.loss_sum + loss * self.batch, state.correct + correct
            state.seen, last = state.seen + self.batch, (loss, norm)
        took = time.perf_counter() - begun
        state.epoch_seconds += took
        return last, took / max(1, len(rows))

    def _backward(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Leave the gradients of the batch's mean loss; return (that loss, summed metric), scalars."""
        return self.gradients.of(inputs, labels)

    def _step_event(self, loss: float, lr: float, norm: float, took: float) -> Step:
        state = self.state
        done = state.epoch * self.steps_per_epoch + state.batch
        per_step = (state.seconds + state.epoch_seconds) / max(1, done)
        left = self.config.epochs * self.steps_per_epoch - done
        return Step(
            step=state.step,
            epoch=state.epoch + 1,
            loss=loss,
            lr=lr,
            grad_norm=norm,
            clouds_per_second=self.batch / took,
            eta_seconds=per_step * left,
        )

    def _judge(self) -> Iterator[Event]:
        """End an epoch: validate, keep the best, write a checkpoint."""
        state, config = self.state, self.config
        begun = time.perf_counter()
        validation = self._score("validation") if self.dataset.validation else None
        test = self._score("test") if config.select == "test" else None
        judged = {"validation": validation, "test": test, "last": None}[config.select]
        state.epoch += 1
        better = judged is None or (judged.accuracy, -judged.loss) > (state.best, -state.best_loss)
        if better:
            state.best_epoch = state.epoch
            if judged is not None:
                state.best, state.best_loss = judged.accuracy, judged.loss
                self.checkpoints.keep_best(state, self.model.adapter_state())
        state.epoch_seconds += time.perf_counter() - begun
        yield Epoch(
            epoch=state.epoch,
            step=state.step,
            train_loss=state.loss_sum / state.seen,
            train_accuracy=state.correct / state.seen,
            validation_loss=validation.loss if validation else None,
            validation_accuracy=validation.accuracy if validation else None,
            test_accuracy=test.accuracy if test else None,
            lr=float(self.optimizer.param_groups[0]["lr"]),
            metric=self.task.metric,
            best=better and judged is not None,
            seconds=state.epoch_seconds,
            peak_memory_bytes=peak_bytes(self.device),
        )
        yield from self.observer.look(state.epoch)
        state.seconds += state.epoch_seconds
        state.batch, state.loss_sum, state.correct, state.seen, state.epoch_seconds = 0, 0.0, 0, 0, 0.0
        waited = state.epoch - state.best_epoch
        stopped_early = config.patience is not None and judged is not None and waited >= config.patience
        state.finished = state.epoch >= config.epochs or stopped_early
        yield self._checkpoint()
        if stopped_early and state.epoch < config.epochs:
            yield Note(message=f"Stopped early: no better epoch since epoch {state.best_epoch}")

    def _score(self, split: str) -> Scores:
        part = self.dataset.validation if split == "validation" else self.dataset.test
        if part is None:
            noun = self.dataset.train.noun
            raise UserError(f"select is `test` but this data set has no test {noun}", remedy="Choose `validation`")
        feed = self.features.to_score(split, lambda: part.feed(self.device))
        return self.task.score(self.model, feed, "validation" if split == "validation" else "test")

    def _checkpoint(self) -> Checkpoint:
        self.checkpoints.write(self.state, self.model, self.optimizer)
        self.saved = time.perf_counter()
        return Checkpoint(step=self.state.step, epoch=self.state.epoch)

    def _interrupt(self) -> Iterator[Event]:
        yield self._checkpoint()
        yield Interrupted(step=self.state.step, epoch=self.state.epoch)

    def _finish(self) -> Iterator[Event]:
        """Put the chosen epoch back, score it once on the test clouds, and write the adapter."""
        state, config = self.state, self.config
        if config.select != "last":
            self.model.load_adapter(self.checkpoints.best(state), "The best epoch")
        self.model.eval()
        yield Stage(stage="test", message=f"Scoring epoch {state.best_epoch}")
        scores = [self._score(split) for split in ("validation", "test") if getattr(self.dataset, split)]
        yield from scores
        write_answers(self.folder, self.dataset, self.task.answers)
        yield from self.observer.look(state.best_epoch, kept=True)
        yield Stage(stage="save", message="Writing the adapter")
        accuracy: dict[str, float | None] = {"validation": None, "test": None}
        accuracy.update({found.split: found.accuracy for found in scores})
        metrics = {
            "metric": self.task.metric,
            "test_accuracy": accuracy["test"],
            "validation_accuracy": accuracy["validation"],
            "best_epoch": state.best_epoch,
            "epochs": state.epoch,
            "selected_on": config.select,
            "scores": [found.model_dump() for found in scores],
            "memory": str(self.gradients.way),
            "peak_memory_bytes": peak_bytes(self.device),
            "device": self.device.type,
        }
        data = self.dataset
        described = describe(
            self.built,
            config,
            data.classes,
            part_names=data.part_names,
            fingerprint=data.fingerprint,
            metrics=metrics,
        )
        size = save_adapter(self.folder / "adapter", self.built, described)
        yield Finished(
            best_epoch=state.best_epoch,
            epochs=state.epoch,
            validation_accuracy=accuracy["validation"],
            test_accuracy=accuracy["test"],
            selected_on=config.select,
            adapter="adapter",
            adapter_bytes=size,
            trainable=described.trainable_parameters,
            seconds=state.seconds,
            metric=self.task.metric,
        )
