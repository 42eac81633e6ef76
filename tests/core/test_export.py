"""What is exported answers as the adapter does, in a process that has PyTorch alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pointsmith.core.adapters import Adapter, describe
from pointsmith.core.building import build
from pointsmith.core.errors import UserError
from pointsmith.core.export import export

from tests.support.tiny import BACKBONES, inputs_for, tiny_run

CLASSES = tuple("abcde")
CASES = [
    ("point-transformer", {"kind": "lora", "rank": 2}, 0),
    ("point-transformer", {"kind": "dapt-x", "rank": 4, "heads": 3}, 1),
    ("point-m2ae", {"kind": "ssf"}, 1),
    ("vit", {"kind": "adaptformer", "rank": 4}, 0),
]


def trained(place: str, method: dict) -> Adapter:
    run = tiny_run(method, backbone=BACKBONES[place])
    built = build(run, len(CLASSES))
    torch.manual_seed(2)
    with torch.no_grad():
        for _, parameter in built.model.trainable():
            parameter.add_(0.1 * torch.randn_like(parameter))
    built.model.eval()
    return Adapter(describe(built, run, CLASSES), built)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "method", "batch"), CASES, ids=[f"{p}-{m['kind']}" for p, m, _ in CASES])
def test_the_program_answers_as_the_model_does(tmp_path: Path, place: str, method: dict, batch: int) -> None:
    adapter = trained(place, method)
    done = export(adapter, tmp_path / "x.pt2")
    assert (done.example[0], done.bytes) == (batch, (tmp_path / "x.pt2").stat().st_size)
    assert done.difference <= 1e-5
    inputs = inputs_for(adapter.config.run.backbone, 1 if batch else 3, seed=5)
    torch.save(inputs, tmp_path / "inputs.pt")
    script = (
        "import torch, json, sys\n"
        "said = {'pointsmith.json': ''}\n"
        "program = torch.export.load('x.pt2', extra_files=said).module()\n"
        "with torch.inference_mode(): logits = program(torch.load('inputs.pt'))\n"
        "assert not any(name.startswith('pointsmith') for name in sys.modules)\n"
        "print(json.dumps([logits.tolist(), json.loads(said['pointsmith.json'])]))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    logits, about = json.loads(ran.stdout)
    with torch.inference_mode():
        expected = adapter.built.model(inputs).numpy()
    assert np.allclose(logits, expected, atol=1e-5)
    assert tuple(about["classes"]) == CLASSES and "preparation" in about


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    adapter = trained("vit", {"kind": "probe"})
    with pytest.raises(UserError, match=r"end in \.pt2"):
        export(adapter, tmp_path / "x.onnx")
    (tmp_path / "x.pt2").touch()
    with pytest.raises(UserError, match="exists already"):
        export(adapter, tmp_path / "x.pt2")
