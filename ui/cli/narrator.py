"""A run's events as lines a person reads: a bar with the time left on a terminal, plain lines anywhere else."""

from __future__ import annotations

import shutil
from typing import TextIO

from ...core.events import Epoch, Event, Finished, Generation, Note, Plan, Pretrained, Scores, Searched, Stage, Step
from ...core.printable import printable
from .output import duration, percent, size

_CLEAR = "\r\x1b[2K"


class Narrator:
    """Tells events on `stream`. `epochs` is the total where no Plan will say it."""

    def __init__(self, stream: TextIO, epochs: int = 0) -> None:
        self.stream, self.live = stream, stream.isatty()
        self.epochs, self.steps = epochs, 0
        self._eta = 0.0
        self.noun = "clouds"
        self.metric = "accuracy"
        self._bar = ""
        self._tenth = -1

    def tell(self, event: Event) -> None:
        """Print what the event says, if it is for a person."""
        if isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Stage) and event.done is not None:
            self._download(event, event.done)
        elif isinstance(event, Stage):
            self.close()
            self.line(f"{event.stage}: {event.message}" if event.message else event.stage)
        elif isinstance(event, Note):
            self.line(f"warning: {event.message}" if event.level == "warning" else event.message)
        elif isinstance(event, Plan):
            self._plan(event)
        elif isinstance(event, Epoch):
            self._epoch(event)
        elif isinstance(event, Scores):
            points = "" if event.point_accuracy is None else f"points right {percent(event.point_accuracy)}, "
            self.line(
                f"{event.split}: {event.metric} {percent(event.accuracy)}, mean of classes "
                f"{percent(event.mean_class_accuracy)}, {points}loss {event.loss:.4f}"
            )
        elif isinstance(event, Finished):
            self._finished(event)
        elif isinstance(event, Pretrained):
            self.line(f"Pre-trained {event.epochs} epochs in {duration(event.seconds)}, loss {event.loss:.5f}.")
        elif isinstance(event, Generation):
            self._generation(event)
        elif isinstance(event, Searched):
            self.close()
            self.line(f"Judged {event.tried} plans of at most {event.max_parameters:,} parameters.")

    def line(self, text: str) -> None:
        """Print a line; the bar moves below it."""
        text = printable(text, lines=True)  # alone, as the stream lets a line begin anew where it starts
        self.stream.write((_CLEAR if self._bar else "") + text + "\n" + self._bar)
        self.stream.flush()

    def close(self) -> None:
        """Take the bar away, if one is there."""
        if self._bar:
            self._bar = ""
            self.stream.write(_CLEAR)
            self.stream.flush()

    def _step(self, event: Step) -> None:
        self._eta = event.eta_seconds
        if not self.live:
            return
        per_epoch = self.steps or 1
        done = (event.step - 1) % per_epoch + 1
        tail = f" loss {event.loss:.3f}  {event.clouds_per_second:.0f} {self.noun}/s  ETA {duration(event.eta_seconds)}"
        head = f"epoch {event.epoch}/{self.epochs or '?'} "
        columns = shutil.get_terminal_size().columns
        room = max(0, min(30, columns - len(head) - len(tail) - 4))
        filled = room * done // per_epoch if self.steps else 0
        bar = f"[{'=' * filled}{' ' * (room - filled)}]" if room and self.steps else ""
        self._bar = (head + bar + tail)[: columns - 1]  # a wrapped line could not be cleared
        self.stream.write(_CLEAR + self._bar)
        self.stream.flush()

    def _download(self, stage: Stage, done: int) -> None:
        """Show how far a download is: a bar on a terminal, elsewhere a line for every tenth of it, or every 50 MB."""
        share = done / stage.total if stage.total else None
        if not self.live:
            tenth = done // 50_000_000 if share is None else int(10 * share)
            if tenth != self._tenth:
                self._tenth = tenth
                self.line(stage.message)
            return
        columns = shutil.get_terminal_size().columns
        room = max(0, min(30, columns - len(stage.message) - 12))
        filled = int(room * (share or 0.0))
        bar = f"  [{'=' * filled}{' ' * (room - filled)}] {100 * share:3.0f} %" if share is not None and room else ""
        self._bar = (stage.message + bar)[: columns - 1]
        self.stream.write(_CLEAR + self._bar)
        self.stream.flush()

    def _plan(self, plan: Plan) -> None:
        self.epochs, self.steps, self.noun = plan.epochs, plan.steps_per_epoch, plan.noun
        self.metric = plan.metric
        parts = f" with {sum(map(len, plan.part_names))} parts" if plan.part_names else ""
        self.line(
            f"{len(plan.classes)} classes{parts}; {plan.noun}: {plan.train_clouds} to train, "
            f"{plan.validation_clouds} to validate, {plan.test_clouds} to test"
        )
        share = 100 * plan.trainable / plan.total
        self.line(
            f"{plan.trainable:,} of {plan.total:,} parameters train ({share:.2f} %); "
            f"the adapter will take {size(plan.adapter_bytes)}"
        )

    def _epoch(self, event: Epoch) -> None:
        parts = [
            f"epoch {event.epoch}/{self.epochs}",
            f"loss {event.train_loss:.4f}",
            f"{'' if self.metric == 'accuracy' else f'{self.metric}: '}train {percent(event.train_accuracy)}",
        ]
        if event.validation_accuracy is not None:
            parts.append(f"validation {percent(event.validation_accuracy)}{' *' if event.best else ''}")
        if event.test_accuracy is not None:
            parts.append(f"test {percent(event.test_accuracy)}")
        parts.append(f"{event.seconds:.1f} s")
        if event.epoch < self.epochs:
            parts.append(f"ETA {duration(self._eta)}")
        self.line("  ".join(parts))

    def _generation(self, event: Generation) -> None:
        """Show the plans judged on a terminal; elsewhere only each whole population."""
        best = f"best {percent(event.best.accuracy)} with {event.best.parameters:,} parameters"
        head = f"population {event.generation}/{event.generations}"
        if event.done == event.planned:
            self.close()
            self.line(f"{head}  {event.tried} plans judged  {best}")
        elif self.live:
            self._bar = f"{head}  plan {event.done}/{event.planned}  {best}"[: shutil.get_terminal_size().columns - 1]
            self.stream.write(_CLEAR + self._bar)
            self.stream.flush()

    def _finished(self, event: Finished) -> None:
        self.close()
        how = {
            "validation": "best on validation",
            "last": "the last",
            "test": f"best on the TEST {self.noun}, so the test {event.metric} is optimistic",
        }[event.selected_on]
        tested = (
            f"Test {event.metric} {percent(event.test_accuracy)}"
            if event.test_accuracy is not None
            else f"No test {self.noun}"
        )
        self.line(
            f"{tested}; kept epoch {event.best_epoch} of {event.epochs} ({how}); {duration(event.seconds)} of training."
        )
