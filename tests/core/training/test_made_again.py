"""What keeps only its inputs has the gradients of what keeps all, in both precisions; starting imports no compiler."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from pointsmith.core.models.made_again import made_again
from pointsmith.core.models.trunk import BlockShape
from pointsmith.core.peft.dapt import DAPTBlock, DAPTConfig

from tests.support.processes import PATIENCE
from tests.support.tiny import tiny_run

Found = tuple[torch.Tensor, ...]


def gradients(block: DAPTBlock, again: bool, precision: str, inside: bool) -> Found:
    """Answers and gradients of the adapter; `inside`: the backward pass runs under autocast too."""
    weights = tuple(block.adapter.parameters())
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
    kept = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(2)) < 0.8

    def computing():
        return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()

    with computing():
        found: list[torch.Tensor] = []
        for _ in range(2):  # the second time autocast may have kept weights of the first
            answer, pooled = made_again(block._answered, (x, kept), weights) if again else block._answered(x, kept)
            found += [answer, pooled]
        loss = sum((one.float() * torch.arange(one.numel()).view_as(one)).sum() for one in found)
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    made = (*found, x.grad, *(weight.grad for weight in weights))
    for weight in weights:
        weight.grad = None
    return tuple(one.detach().clone() for one in made)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_gradients_are_those_of_what_keeps_all(precision: str, inside: bool) -> None:
    torch.manual_seed(0)
    block = DAPTBlock(DAPTConfig(rank=4), BlockShape("blocks.0", 16, 2, 64), 1)
    with torch.no_grad():
        for weight in block.adapter.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    plain, again = (gradients(block, one, precision, inside) for one in (False, True))
    for ours, theirs in zip(again, plain):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6 * float(theirs.abs().max()))


def test_it_keeps_its_inputs_and_weights_and_nothing_else() -> None:
    block = DAPTBlock(DAPTConfig(rank=4), BlockShape("blocks.0", 16, 2, 64), 1)
    x, kept = torch.randn(2, 5, 16, requires_grad=True), torch.ones(2, 5, 4, dtype=torch.bool)
    weights = tuple(block.adapter.parameters())
    known = {one.data_ptr() for one in (x, kept, *weights)}
    saved: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        made_again(block._answered, (x, kept), weights)
        assert set(saved) == known
        block._answered(x, kept)
        assert set(saved) > known


def test_only_what_asks_gets_gradients() -> None:
    weight, frozen = torch.nn.Parameter(torch.randn(3)), torch.randn(3)
    (answer,) = made_again(lambda x: (x * weight,), (frozen,), (weight,))
    answer.sum().backward()
    torch.testing.assert_close(weight.grad, frozen)
    assert frozen.grad is None


@pytest.mark.parametrize("method", ["dapt", "adaptformer-x"])
def test_training_does_not_import_the_compiler(tmp_path: Path, method: str) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(tiny_run({"kind": method, "rank": 4}).to_yaml())
    code = (
        "import sys; from pathlib import Path; from pointsmith.core.config import parse_config\n"
        "from pointsmith.core.training import train\nimport yaml\n"
        "config = parse_config(yaml.safe_load(Path(sys.argv[1]).read_text()))\n"
        "kinds = [event.kind for event in train(config, Path(sys.argv[2]), device='cpu')]\n"
        "print(kinds[-1], [one for one in ('torch._dynamo', 'torch._inductor') if one in sys.modules])"
    )
    words = [sys.executable, "-c", code, str(config), str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "finished []"
