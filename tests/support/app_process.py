"""`python app.py` as a process of its own, for the tests that meet the page from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.processes import PATIENCE, Child


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@dataclass
class App:
    """`python app.py` on a folder of its own: page, worker and Redis. `with` starts it, and it must end cleanly."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: Child | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "store"

    def log(self) -> str:
        return (self.folder / "app.log").read_text()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(self.port), "--data", str(self.data)]
        with (self.folder / "app.log").open("a") as log:
            self.process = Child(
                [*command, *self.options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},  # one core for what trains, one for the browser
            )
        said = [self.process.read_line(), self.process.read_line()]
        assert self.address in said[-1], f"{said} {self.log()}"

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
                process.wait(PATIENCE)
            if process.stdout:
                process.stdout.close()

    def __enter__(self) -> App:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
