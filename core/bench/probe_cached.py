"""A training step of a probe: on features made once, on clouds, and as published code takes it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..building import build
from ..fast.accelerate import accelerate
from ..training.gradients import Gradients
from ..training.optimizer import make_optimizer
from ..training.task import ClassTask
from .harness import Candidate, Options, Report, compare, rows_of
from .reference import ReferenceStep
from .served import CLASSES, CPU, run_of


def run(options: Options) -> Report:
    config = run_of({"kind": "probe"}, options.small).model_copy(update={"batchnorm": "frozen"})
    model = build(config, CLASSES).model.train()
    batch = 4 if options.small else 32
    generator = torch.Generator().manual_seed(0)
    clouds = torch.rand(batch, 64 if options.small else 2048, 3, generator=generator) - 0.5
    labels = torch.randint(CLASSES, (batch,), generator=generator)
    theirs, fair = ReferenceStep(model), ReferenceStep(model, own_grouping=True)
    accelerate(model, "float32", CPU)
    model.trunk.eval()
    with torch.no_grad():
        rows = model.features(*model.trunk.prepare(clouds))[0]
    gradients = Gradients(model, ClassTask(CLASSES), "float32", CPU)
    optimizer = make_optimizer(model, config.optim.lr, config.optim.weight_decay)

    def step(inputs: Tensor) -> None:
        gradients.of(inputs, labels)
        torch.nn.utils.clip_grad_norm_([parameter for _, parameter in model.trainable()], config.optim.clip)
        optimizer.step()

    candidates = [
        Candidate("features made once", partial(step, rows)),
        Candidate("clouds", partial(step, clouds)),
        Candidate("reference, our grouping", partial(fair, clouds, labels)),
        Candidate("reference", partial(theirs, clouds, labels)),
    ]
    timings = compare(candidates, rounds=options.rounds)
    columns = ("step of", "by", "least ms", "median ms", "ratio of least", "ratio of medians")
    note = "Making the features takes one forward pass over the training part, before the first epoch."
    return Report("probe_cached", "a probe's step", columns, rows_of(f"{batch} clouds", timings), [note])
