"""The benchmarks by name. Adding one is a module with `run(options) -> Report` and its line in this table."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from ..errors import UserError
from .harness import Options, Report

BENCHMARKS: dict[str, tuple[str, str]] = {
    # name: (module, what it measures)
    "fps_cpu": (".fps_cpu", "farthest point sampling beside batched torch, fpsample, torch-fps"),
    "group_cpu": (".group_cpu", "farthest points and neighbours beside torch, fpsample + pykdtree, torch-fps"),
    "tokenizer_cpu": (".tokenizer_cpu", "the frozen mini-PointNet beside published code's, with its error"),
    "step_cpu": (".step_cpu", "a training step method by method beside published code's, gradients compared"),
    "data": (".data", "a batch drawn and augmented beside a DataLoader with workers and a loop"),
    "startup": (".startup", "whole processes: --help, methods, imports, the first label"),
    "scaling": (".scaling", "grouping and forward pass over points, groups, batch, threads"),
    "mem_slope": (".mem_slope", "memory of a training step in each mode beside published code, by batch size"),
    "moa_micro": (".moa_micro", "the mixture of adapters beside the paper's code, time and kept memory"),
    "predict_b1": (".predict_b1", "one cloud to its label, in float32 and bf16, beside the reference model"),
    "predict_b32": (".predict_b32", "32 clouds to their labels, beside the reference model"),
    "multi_adapter": (".multi_adapter", "a batch of 32 adapters beside one adapter; changing adapters; memory"),
    "cold_start": (".cold_start", "a new process to the first answer of an adapter, no compiler in reach"),
    "probe_cached": (".probe_cached", "a probe's step on kept features beside clouds and the reference"),
}


def run(name: str, options: Options, table: Mapping[str, tuple[str, str]] = BENCHMARKS) -> Report:
    """Run one benchmark on as many threads as asked; UserError where there is none of that name."""
    if name not in table:
        raise UserError("There is no such benchmark", got=name, expected=", ".join(table))
    import torch

    module = import_module(table[name][0], __package__)
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        return module.run(options)
    finally:
        torch.set_num_threads(before)
