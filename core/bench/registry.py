"""The benchmarks by name. Adding one is a module with `run(options) -> Report` and its line in this table.

A module with several names its functions behind a colon.
"""

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
    "gpu_fps": (".gpu:fps", "on a GPU: farthest point sampling beside torch"),
    "gpu_group": (".gpu:group", "on a GPU: farthest points and neighbours beside torch"),
    "gpu_step32": (".gpu:step32", "on a GPU: a training step of 32 clouds, with and without graph, beside published"),
    "gpu_step512": (".gpu:step512", "on a GPU: a training step of 512 clouds, with and without graph"),
    "gpu_mem512": (".gpu:mem512", "on a GPU: memory of a step of 512 clouds in each mode beside published code"),
    "gpu_predict1": (".gpu:predict1", "on a GPU: one cloud, and 512, to logits beside the reference model"),
    "gpu_multi": (".gpu:multi", "on a GPU: a batch of 32 adapters beside one adapter"),
}


def run(name: str, options: Options, table: Mapping[str, tuple[str, str]] = BENCHMARKS) -> Report:
    """Run one benchmark on as many threads as asked; UserError where there is none of that name."""
    if name not in table:
        raise UserError("There is no such benchmark", got=name, expected=", ".join(table))
    import torch

    where, _, function = table[name][0].partition(":")
    module = import_module(where, __package__)
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        return getattr(module, function or "run")(options)
    finally:
        torch.set_num_threads(before)
