"""A page with runs in it, for the browser tests: one server for a whole session, which can be stopped and started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from test_parts import FIXED, method_of, write_tools

ROOT = Path(__file__).resolve().parents[3]
VIT = {"kind": "vit-b16", "weights": "random", "image_size": 32, "patch_size": 8, "dim": 24, "depth": 2, "heads": 2}
DEMO = {"kind": "demo", "train_per_class": 4, "test_per_class": 2, "preparation": {"points": 512}}
SMALL = {"kind": "demo", "groups": 16}


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@dataclass
class Stocked:
    """`python app.py` on a folder of its own; `runs` are ids by what they show."""

    folder: Path
    port: int = field(default_factory=free_port)
    runs: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "store"

    def start(self) -> None:
        """Start the page, its worker and its Redis, and wait until it answers."""
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(self.port), "--data", str(self.data)]
        with (self.folder / "app.log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.folder)
        assert self.process.stdout
        said = [self.process.stdout.readline(), self.process.stdout.readline()]
        assert self.address in said[-1], f"{said} {(self.folder / 'app.log').read_text()}"

    def stop(self) -> None:
        """End it as an administrator would; it must end cleanly."""
        process, self.process = self.process, None
        if process is None:
            return
        try:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()

    def submit(self, name: str, config: dict[str, Any]) -> str:
        """Queue a run; its id."""
        path = self.folder / "run.yaml"
        path.write_text(json.dumps(config))  # YAML contains JSON
        command = [sys.executable, "-m", "pointsmith.ui.cli.main", "submit", "--service", str(self.data)]
        said = subprocess.run(
            [*command, "--config", str(path), "--name", name],
            capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
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
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        return {one["id"]: one["state"] for one in json.loads(said.stdout)}
