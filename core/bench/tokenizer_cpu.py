"""The frozen mini-PointNet on the CPU beside published code's, with batch norms as they train and as they are kept."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ..building import build
from ..config import parse_config
from ..data.procedural import make_split
from ..fast.multiply import fastest_library
from ..fast.tokenizer import FrozenEmbed
from ..models.patch_embed import PatchEmbed
from ..models.point_transformer import PointTransformer
from ..training.stepping import computing_in
from .harness import RATIOS, TIMES, Candidate, Cell, Options, Report, compare, ratios, times
from .reference import Reference

CPU = torch.device("cpu")


def run(options: Options) -> Report:
    table: list[list[Cell]] = []
    for batchnorm in ("paper", "frozen"):
        config = parse_config(
            {
                "backbone": {"kind": "point-mae", "weights": "random", "groups": 16 if options.small else 128},
                "method": {"kind": "probe"},
                "batchnorm": batchnorm,
            }
        )
        model = build(config, 15).model.train()
        trunk = model.trunk
        assert isinstance(trunk, PointTransformer)
        for part in trunk.patch_embed.modules():  # as torch makes them: tokens that differ from each other
            if isinstance(part, torch.nn.Linear):
                part.reset_parameters()
        clouds = make_split("train", 1 if options.small else 3, 2048, 0)[0][: 4 if options.small else 32]
        with torch.no_grad():
            patches, _ = trunk.group(torch.from_numpy(clouds))
        reference = Reference(model).train()
        reference.model.train()  # once more: it knows which of its batch norms are kept
        table += _rows(batchnorm, trunk.patch_embed, reference, patches, options)
    columns = ("batch norms", "by", *TIMES, "error against float64", *RATIOS)
    title = f"the tokens of {4 if options.small else 32} clouds, frozen, processor time"
    note = "`paper`: statistics of the batch, which move; `frozen`: those of the file. Ratios to ours in float32."
    return Report("tokenizer_cpu", title, columns, table, [note])


def _rows(label: str, embed: PatchEmbed, reference: Reference, patches: Tensor, options: Options) -> list[list[Cell]]:
    embed = copy.deepcopy(embed).requires_grad_(False)
    exact = copy.deepcopy(embed).double()(patches.double())
    kernel = FrozenEmbed(torch.bfloat16, fastest_library(CPU))

    def fast(precision: str) -> Tensor:
        with torch.no_grad(), computing_in(precision, CPU):
            return kernel(embed, patches)

    def plain() -> Tensor:
        with torch.no_grad():
            return embed(patches)

    def published(precision: str) -> Tensor:
        with torch.no_grad(), computing_in(precision, CPU):
            return reference.embed(patches)

    ways = {
        "pointsmith, float32": lambda: fast("float32"),
        "pointsmith, bf16": lambda: fast("bf16"),
        "pointsmith, plain float32": plain,
        "published code, float32": lambda: published("float32"),
        "published code, bf16 autocast": lambda: published("bf16"),
    }
    errors = {name: float((way().double() - exact).norm() / exact.norm()) for name, way in ways.items()}
    timings = compare([Candidate(name, way) for name, way in ways.items()], rounds=options.rounds)
    return [[label, one.name, *times(one), f"{errors[one.name]:.1e}", *ratios(one, timings[0])] for one in timings]
