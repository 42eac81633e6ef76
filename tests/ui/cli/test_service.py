"""`serve` and `worker` as processes: they start, say where they are, refuse clearly, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.cli import Call, assert_refused
from tests.support.processes import Child, ended


def test_worker_runs_until_interrupted(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "REDIS_URL"}
    process = Child(
        [sys.executable, "-m", "pointsmith.ui.cli.main", "worker", "--data", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.read_line().startswith("1 worker(s) on unix://")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    _, stderr = process.finish()
    assert process.returncode == 0, stderr
    assert "Stopping" in stderr and "Traceback" not in stderr
    assert ended(children, timeout=10)


def test_serve_refuses_a_taken_port(call: Call, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pointsmith.ui.cli.main",
                "serve",
                "--port",
                str(port),
                "--data",
                str(tmp_path / "d"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and str(port) in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "d").exists()


def test_data_folder_that_cannot_be(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert_refused(call("worker", "--data", tmp_path / "file" / "data"), "data folder cannot be used")
    assert call("serve", "--port", "70000").exit_code == 2
    assert call("worker", "--workers", "0").exit_code == 2
