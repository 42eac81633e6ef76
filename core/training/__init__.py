"""The trainer: a generator of typed events."""

from .train import train

__all__ = ["train"]
