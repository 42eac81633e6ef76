"""The time of a batch of 32 clouds, from points to logits, beside the reference model."""

from __future__ import annotations

from .harness import Options, Report
from .served import predict_table


def run(options: Options) -> Report:
    return predict_table("predict_b32", 2 if options.small else 32, options)
