"""The latency of one cloud, from its points to its logits, beside the reference model."""

from __future__ import annotations

from .harness import Options, Report
from .served import predict_table


def run(options: Options) -> Report:
    return predict_table("predict_b1", 1, options)
