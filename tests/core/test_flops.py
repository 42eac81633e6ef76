"""Multiply-adds are counted as the papers count them."""

from __future__ import annotations

import pytest
import torch
from pointsmith.core.config import parse_config
from pointsmith.core.flops import count_flops
from pointsmith.core.models.patch_embed import PatchEmbed
from pointsmith.core.peft.idpt import EdgeConv


@pytest.mark.parametrize(
    ("kind", "printed"), [("full", "4.8"), ("dapt", "5.0"), ("idpt", "7.1")], ids=["point-mae", "dapt", "idpt"]
)
def test_published_multiply_adds(kind: str, printed: str) -> None:
    backbone = {"kind": "point-mae", "groups": 128, "weights": "random"}
    run = parse_config({"backbone": backbone, "method": {"kind": kind}, "data": {"preparation": {"points": 2048}}})
    found = count_flops(run, 15)
    assert f"{found.published / 1e9:.1f}" == printed
    assert found.computed < found.published
    if kind == "full":
        assert found.attention == 2 * 12 * 129**2 * 384


@pytest.mark.parametrize("module", [PatchEmbed(16, (4, 8, 12)), EdgeConv(8, 3)], ids=["patch-embed", "edge-conv"])
def test_the_short_form_answers_as_the_written_out(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 5, 6, 3) if isinstance(module, PatchEmbed) else (2, 5, 8), generator=generator)
    short = module.eval()(x)
    module.written_out = True
    assert torch.allclose(module(x), short, atol=1e-6)
