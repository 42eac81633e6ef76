"""The training curve of a run, as its events tell it."""

from __future__ import annotations


def curve(events) -> list[tuple]:
    """Return what must not depend on interruptions: losses and accuracies, without times."""
    picked = []
    for event in events:
        if event.kind == "step":
            picked.append((event.step, event.epoch, event.loss, event.lr, event.grad_norm))
        elif event.kind == "epoch":
            picked.append((event.epoch, event.train_loss, event.train_accuracy, event.validation_loss, event.best))
        elif event.kind == "scores":
            picked.append((event.split, event.loss, event.confusion))
    return picked
