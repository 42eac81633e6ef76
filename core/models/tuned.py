"""The one mechanism: run a frozen operation, then every delta that a method attached to it.

A method of parameter-efficient fine-tuning is a table of rows (operation name, delta). A delta is called as
``delta(x, y)`` with the operation's input and output and answers the new output. It is a module or a bound method,
never a lambda, so that a model with deltas can be copied and compiled.

An operation may have a kernel besides: the same answer by another arithmetic, called as ``kernel(operation, x)``. It
may take the first deltas of its operation into itself. See `fast`; without one the operation's own code runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import nn

Delta = Callable[[Any, Any], Any]


@runtime_checkable
class Foldable(Protocol):
    """A delta that can become part of the frozen operation, so that it costs nothing when deployed."""

    def fold(self, operation: nn.Module) -> None:
        """Change the operation's own weights so that it alone answers what operation and delta answered."""
        ...


def tuned(operation: nn.Module, x: Any, *context: Any) -> Any:
    """Return ``operation(x, *context)`` after all of its deltas, in the order of their attachment.

    `context` is what an operation needs besides, such as an attention mask; deltas do not see it.
    """
    kernel = getattr(operation, "kernel", None)
    y = operation(x, *context) if kernel is None else kernel(operation, x, *context)
    for delta in getattr(operation, "deltas", ()):  # getattr, not __dict__: torch.compile guards it
        y = delta(x, y)
    return y


def attach(operation: nn.Module, delta: Delta) -> None:
    """Append a delta to an operation. A plain tuple, so the operation neither owns nor saves it."""
    object.__setattr__(operation, "deltas", (*getattr(operation, "deltas", ()), delta))


def detach(operation: nn.Module) -> None:
    """Take every delta off an operation, and its kernel, which may have taken deltas in."""
    for name in ("deltas", "kernel"):
        if name in operation.__dict__:
            delattr(operation, name)
