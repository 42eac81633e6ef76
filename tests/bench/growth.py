"""What visits and API calls leave in the memory of the page: `python -m tests.bench.growth`.

It starts `app.py` without a worker, calls its API and opens its page over the loopback, and prints how the resident
memory of the process grew. Linux only. `--calls` and `--visits` make it shorter.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.processes import PATIENCE, Child

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 50


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class Client:
    """Plain HTTP to the page, over one connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, content: object = None) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        body = None if content is None else json.dumps(content)
        self.connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def call(self, at: int) -> None:
        """Call one function of the API, each way in turn; all of them are refused in one sentence."""
        names = ("status", "events", "submit", "predict")
        name = names[at % len(names)]
        data: list[object] = {
            "status": ["a" * 24],
            "events": ["a" * 24, "0"],
            "submit": [{"method.kind": "no such method"}, "", ""],
            "predict": ["a" * 24, [[0.0, 0.0, 0.0]]],
        }[name]
        if name == "predict" or at // len(names) % 2:
            status, answer = self.ask("POST", f"/gradio_api/call/{name}", {"data": data})
            assert status == 200, answer
            status, answer = self.ask("GET", f"/gradio_api/call/{name}/{json.loads(answer)['event_id']}")
            assert status == 200 and b"event: error" in answer, answer
        else:
            content = {"data": data, "session_hash": f"program{at}"}
            status, answer = self.ask("POST", f"/gradio_api/run/{name}", content)
            assert status == 500 and b"error" in answer, answer

    def visit(self, at: int, loads: list[dict[str, object]]) -> None:
        """Open the page as a browser does: the document, its configuration, and the events of its load."""
        for path in ("/", "/config"):
            assert self.ask("GET", path)[0] == 200
        session = f"visit{at}"
        for event in loads:
            data = [None] * len(event["inputs"])  # type: ignore[arg-type]
            body = {"data": data, "fn_index": event["id"], "session_hash": session}
            status, answer = self.ask("POST", "/gradio_api/queue/join", body)
            assert status == 200, answer
        status, answer = self.ask("GET", f"/gradio_api/queue/data?session_hash={session}")
        assert status == 200 and answer.count(b"process_completed") >= len(loads), answer[:500]


def grown(pid: int, rounds: int, work: Callable[[int], None]) -> tuple[float, float]:
    """Return MB before and after `rounds` calls of `work`, once the first ones have filled the caches."""
    warm = min(20, rounds)
    for at in range(warm):
        work(-1 - at)
    before = resident_mb(pid)
    for at in range(rounds):
        work(at)
    return before, resident_mb(pid)


def main(argv: list[str] | None = None) -> int:
    """Print a line for calls and one for visits; return 1 where more than `LIMIT_MB` stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--visits", type=int, default=1_000)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        command = [sys.executable, str(ROOT / "app.py"), "--port", "0", "--no-worker", "--data", folder]
        process = Child(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        try:
            assert process.stdout
            address = next(line for line in process.stdout if "http://" in line)
            client = Client(int(address.strip().rsplit(":", 1)[1]))
            config = json.loads(client.ask("GET", "/config")[1])
            loads = [
                one for one in config["dependencies"]
                if any(event == "load" for _, event in one["targets"]) and one["backend_fn"]
            ]  # fmt: skip
            failed = False
            for what, rounds, work in (
                ("API calls", options.calls, client.call),
                ("visits", options.visits, lambda at: client.visit(at, loads)),
            ):
                began = time.monotonic()
                before, after = grown(process.pid, rounds, work)
                print(
                    f"{rounds:,} {what}: {before:.0f} -> {after:.0f} MB ({after - before:+.0f} MB), "
                    f"{time.monotonic() - began:.0f} s",
                    flush=True,
                )
                failed |= after - before > LIMIT_MB
            return int(failed)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
