"""A page with runs in it, for the browser tests: one server for a whole session, which can be stopped and started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tests.support.app_process import App
from tests.support.part_sets import FIXED, method_of, write_tools
from tests.support.processes import PATIENCE

VIT = {"kind": "vit-b16", "weights": "random", "image_size": 32, "patch_size": 8, "dim": 24, "depth": 2, "heads": 2}
DEMO = {"kind": "demo", "train_per_class": 4, "test_per_class": 2, "preparation": {"points": 512}}
SMALL = {"kind": "demo", "groups": 16}


@dataclass
class Stocked(App):
    """The page; `runs` are ids by what they show."""

    runs: dict[str, str] = field(default_factory=dict)

    def submit(self, name: str, config: dict[str, Any]) -> str:
        """Queue a run; its id."""
        path = self.folder / "run.yaml"
        path.write_text(json.dumps(config))  # YAML contains JSON
        command = [sys.executable, "-m", "pointsmith.ui.cli.main", "submit", "--service", str(self.data)]
        said = subprocess.run(
            [*command, "--config", str(path), "--name", name],
            capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=PATIENCE,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
        return said.stdout.split()[0]

    def stock(self) -> None:
        """Train what the tests look at: clouds by two methods, images, parts, and one run that fails."""
        (self.folder / "empty" / "one").mkdir(parents=True)
        (self.folder / "empty" / "two").mkdir()
        rng = np.random.default_rng(0)
        for label, low in {"dark": 0, "light": 150}.items():
            (self.folder / "photos" / label).mkdir(parents=True)
            for i in range(10):
                pixels = rng.integers(low, low + 100, (8, 8, 3)).astype(np.uint8)
                picture = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BILINEAR)
                picture.save(self.folder / "photos" / label / f"{i}.png")
        tools = write_tools(self.folder / "tools")
        images = {"kind": "images", "path": str(self.folder / "photos"), "preparation": {"size": 32}}
        parts = {"kind": "parts", "path": str(tools), "preparation": {"points": 64}, "validation": 0.25}
        clouds = {"data": DEMO, "backbone": SMALL, "epochs": 2, "batch_size": 12, "optim": {"lr": 0.002}}
        wanted: dict[str, dict[str, Any]] = {
            "routed": clouds | {"method": {"kind": "adapter-x"}},
            "scaled": clouds | {"method": {"kind": "dapt"}},
            "images": {
                "backbone": VIT, "method": {"kind": "adapter-x"}, "data": images | {"validation": 0.25},
                "batch_size": 4, "epochs": 2,
            },
            "parts": {**FIXED, "method": method_of("adapter-x"), "data": parts, "epochs": 2, "batch_size": 4},
            "failed": {"data": {"kind": "folder", "path": str(self.folder / "empty")}},
        }  # fmt: skip
        for name, config in wanted.items():
            self.runs[name] = self.submit(f"The {name} one", config)
        until = time.monotonic() + 400
        while set(states := self.states().values()) - {"succeeded", "failed"}:
            assert time.monotonic() < until, states
            time.sleep(0.5)
        found = self.states()
        assert {name: found[one] for name, one in self.runs.items()} == {
            name: "failed" if name == "failed" else "succeeded" for name in wanted
        }

    def states(self) -> dict[str, str]:
        """What has become of each run, by id."""
        command = [sys.executable, "-m", "pointsmith.ui.cli.main", "runs", "--service", str(self.data), "--json"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
        return {one["id"]: one["state"] for one in json.loads(said.stdout)}
