"""The CUDA kernels of point grouping without a GPU: exact in Triton's interpreter, and compiled for sm_90."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from pointsmith.core.models.grouping_triton import farthest_kernel, nearest_kernel

types = {"points": "*fp32", "chosen": "*i64", "index": "*i64", "count": "i32"}
sizes = {"groups": 128, "size": 32, "skip_origin": True, "origin": 1e-3, "block": 2048}
for kernel in (farthest_kernel, nearest_kernel):
    constants = {name: sizes[name] for name in kernel.arg_names if name in sizes}
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4, "enable_fp_fusion": False})
    print(len(made.asm["cubin"]), made.asm["ptx"].count("fma.rn.f32"))
"""


def python(*arguments: str, folder: Path, **variables: str) -> str:
    environment = os.environ | {"TRITON_CACHE_DIR": str(folder / "triton"), "OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_exact_in_the_interpreter(tmp_path: Path) -> None:
    script = "tests.support.grouping_interpreted"
    assert python("-m", script, folder=tmp_path, TRITON_INTERPRET="1").strip() == "exact"


def test_compiles_for_sm_90_without_fused_multiply_add(tmp_path: Path) -> None:
    script = tmp_path / "compile_kernels.py"
    script.write_text(COMPILE, encoding="utf-8")
    found = re.findall(r"^(\d+) (\d+)$", python(str(script), folder=tmp_path), re.MULTILINE)
    assert len(found) == 2
    for size, fused in found:
        assert int(size) > 1000
        assert int(fused) == 0
