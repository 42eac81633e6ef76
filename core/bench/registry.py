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
    "data": (".data", "a batch drawn and augmented beside a DataLoader with workers and a loop"),
    "startup": (".startup", "whole processes: --help, methods, imports, the first label"),
    "scaling": (".scaling", "grouping and forward pass over points, groups, batch, threads"),
    "moa_micro": (".moa_micro", "the mixture of adapters beside the paper's code, time and kept memory"),
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
