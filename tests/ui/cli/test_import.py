"""A published checkpoint through `import` and `predict --raw --json`, as a script would do it."""

from __future__ import annotations

import json

import numpy as np
import torch

from tests.support.cli import Call
from tests.support.paths import GOLDEN
from tests.support.standin import stand_in_clouds, stand_in_weights


def test_import_then_predict(call: Call) -> None:
    case = json.loads((GOLDEN / "pointmae-scan_hardest.json").read_text())
    torch.save({"base_model": stand_in_weights(case["shapes"], case["seed"])}, "ckpt.pth")
    made = call("import", "ckpt.pth", "--layout", case["case"], "--out", "made/adapter", "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["bytes"] > 80_000_000
    np.save("batch.npy", stand_in_clouds(case["batch"], case["points"], case["seed"] + 1000))
    rows = json.loads(call("predict", "made/adapter", "batch.npy", "--raw", "--json").stdout)
    published = np.load(GOLDEN / "pointmae-scan_hardest.npz")["logits"]
    assert np.abs(np.array([row["logits"] for row in rows]) - published).max() <= 1e-4
    again = call("import", "ckpt.pth", "--layout", case["case"], "--out", "made/adapter")
    assert again.exit_code == 2 and "adapter" in again.stderr
