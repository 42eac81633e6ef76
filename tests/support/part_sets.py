"""Small data sets labeled by part, and the runs that train on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pointsmith.core.config import choices, parse_config
from pointsmith.core.data.names import SHAPENETPART

from tests.support.tiny import BACKBONE

FIXED = {"backbone": {**BACKBONE, "depth": 6, "drop_path": 0.0}, "head": {"hidden": 16}}


def write_tools(folder: Path, per_category: int = 8, points: int = 96) -> Path:
    """Two categories of two parts each, unlike in shape: lollipops and hammers, the label in the last column."""
    rng = np.random.default_rng(0)
    for category in ("hammer", "lollipop"):
        (folder / category).mkdir(parents=True)
        for i in range(per_category):
            at_handle = int(rng.integers(points // 3, 2 * points // 3))
            handle = rng.normal(size=(at_handle, 3)) * 0.03
            handle[:, 1] += rng.uniform(-1, 0.2, at_handle)
            head = rng.normal(size=(points - at_handle, 3))
            head *= 0.3 / np.linalg.norm(head, axis=1, keepdims=True)
            head[:, 1] += 0.5
            if category == "hammer":
                head = head * (2, 0.5, 0.5) + (0, 0.25, 0)
            labels = np.r_[np.zeros(at_handle), np.ones(points - at_handle)]
            order = rng.permutation(points)
            np.savetxt(folder / category / f"{i}.txt", np.c_[np.r_[handle, head], labels][order], fmt="%.5f")
    (folder / "parts.json").write_text('{"hammer": ["handle", "head"], "lollipop": ["stick", "ball"]}')
    return folder


def method_of(kind: str) -> dict:
    settings = choices("method")[kind].model_fields
    small = {"rank": 4} if "rank" in settings else {}
    return {"kind": kind, **small, **({"neighbours": 4} if kind == "idpt" else {})}


def run_on(path: Path, kind: str = "dapt", **changes):
    data = {"kind": "parts", "path": str(path), "preparation": {"points": 64}, "validation": 0.25}
    return parse_config({**FIXED, "method": method_of(kind), "data": data, "epochs": 3, "batch_size": 4, **changes})


def write_shapenetpart(root: Path, per_list: int = 2, points: int = 70) -> Path:
    """The official folder in miniature: four categories, one file of another size."""
    rng = np.random.default_rng(0)
    synsets = {"airplane": "02691156", "chair": "03001627", "mug": "03797390", "table": "04379243"}
    first = {"airplane": 0, "chair": 12, "mug": 36, "table": 47}
    (root / "train_test_split").mkdir(parents=True)
    (root / "synsetoffset2category.txt").write_text("".join(f"{c.title()}\t{s}\n" for c, s in synsets.items()))
    for which in ("train", "val", "test"):
        entries = []
        for category, synset in synsets.items():
            (root / synset).mkdir(exist_ok=True)
            for i in range(per_list):
                count = points + (10 if which == "train" and i == 0 else 0)
                part = rng.integers(0, SHAPENETPART[category], (count, 1)) + first[category]
                place = rng.normal(size=(count, 3)) + part % 3
                rows = np.hstack([place, rng.normal(size=(count, 3)), part])
                np.savetxt(root / synset / f"{which}{i}.txt", rows, fmt="%.6f")
                entries.append(f"shape_data/{synset}/{which}{i}")
        (root / "train_test_split" / f"shuffled_{which}_file_list.json").write_text(json.dumps(entries))
    return root
