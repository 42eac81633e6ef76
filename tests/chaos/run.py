"""The chaos gate: many short runs, real workers, Redis and page, kill -9 of each in between, and then the count.

    python -m tests.chaos.run --runs 200 --workers 4 --kills 12 --seeds 3
    python -m tests.chaos.run --runs 24 --kills 6 --trainer real

Passed means: every run succeeded, no two trainers of one run ever worked at the same time, and every curve is whole,
without gap or duplicate. Only processes that this program started are killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import yaml
from pointsmith.core.errors import UserError
from pointsmith.worker.run import Run
from pointsmith.worker.service import Service
from pointsmith.worker.timing import Timing

from tests.support.processes import PATIENCE, Child

KINDS = ("worker", "child", "trainer", "redis", "web")
TIMING = Timing(lease=3.0, renew=0.6, reap=0.3, resend=1.0)
HERE = Path(__file__).resolve().parent
COUNTING = {"steps": 20, "seconds": 0.03, "every": 4}
TINY: dict[str, Any] = yaml.safe_load((HERE / "tiny.yaml").read_text())


@dataclass
class Report:
    """What one round gave."""

    seed: int
    runs: int
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    overlapping: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    attempts: int = 0
    redone: int = 0
    steps: int = 0
    page_back: bool = True

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, doubled or torn, and the page came back."""
        return self.page_back and not (self.lost or self.overlapping or self.broken)

    def row(self) -> str:
        """One line of the table in RESULTS.md."""
        kills = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        return (
            f"| {self.seed} | {self.runs} | {sum(self.kills.values())} ({kills}) | {len(self.lost)} | "
            f"{len(self.overlapping)} | {len(self.broken)} | {self.attempts - self.runs} | "
            f"{self.redone} of {self.steps} | {self.seconds:.0f} s |"
        )


HEAD = (
    "| seed | runs | kill -9 | lost | overlapping | curves torn | resumed | steps done twice | time |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


class Arena:
    """Everything that one round starts: page, launcher with workers and, by whichever comes first, Redis."""

    def __init__(self, data: Path, workers: int, trainer: tuple[str, ...], web: bool):
        self.data, self.trainer, self.workers = data, trainer, workers
        self.port = _free_port()
        self.web = self._start_web() if web else None
        # The one who submits and looks: it also keeps Redis alive, as every launcher does.
        self.service = Service(data, 0, timing=TIMING)
        command = [sys.executable, str(HERE / "launcher.py"), str(data), str(workers), TIMING.to_json(), *trainer]
        self.launcher = Child(command, env=self._environment(), stdin=subprocess.DEVNULL)

    def _environment(self) -> dict[str, str]:
        ours = {key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "POINTSMITH_ARTEFACTS")}
        return {**ours, "OMP_NUM_THREADS": "1"}

    def _start_web(self) -> Child:
        command = [sys.executable, str(HERE.parents[1] / "app.py"), "--no-worker", "--port", str(self.port)]
        with (self.data / "web.txt").open("ab") as out:
            return Child(
                [*command, "--data", str(self.data)], env=self._environment(), stdout=out, stderr=out,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def web_answers(self) -> bool:
        """Whether the page is there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self, kind: str, chance: random.Random) -> bool:
        """Kill one process of this kind; False when there is none now."""
        if kind == "web":
            if self.web is None:
                return False
            self.web.kill()
            self.web.wait(PATIENCE)
            self.web = self._start_web()
            return True
        if kind == "redis":
            try:
                pid = int(self.service.store.ledger.redis.info("server")["process_id"])
            except Exception:  # it is down from the kill before
                return False
            os.kill(pid, signal.SIGKILL)
            return True
        found = self._processes(kind)
        if not found:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            chance.choice(found).kill()
            return True
        return False

    def _processes(self, kind: str) -> list[psutil.Process]:
        """Celery's parents, their pool processes, or trainers; all of them descend from our launcher."""
        parents = _children(self.launcher.pid)
        if kind == "worker":
            return parents
        pool = [child for parent in parents for child in _children(parent.pid)]
        if kind == "child":
            return pool
        return [trainer for child in pool for trainer in _children(child.pid) if self._has_begun(trainer)]

    def _has_begun(self, trainer: psutil.Process) -> bool:
        """Whether there is work to lose: killing a trainer that still imports its libraries proves little."""
        with contextlib.suppress(psutil.NoSuchProcess):
            folders = [part for part in trainer.cmdline() if part.startswith(str(self.data / "runs"))]
            done = Path(folders[0]) / "done.txt" if folders else None
            return done is not None and done.exists() and f'"pid": {trainer.pid}' in done.read_text()
        return False

    def close(self) -> None:
        """End everything, in order; whatever is left of it is killed."""
        self.launcher.terminate()
        if self.web is not None:
            self.web.terminate()
        for process in (self.launcher, self.web):
            if process is None:
                continue
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE)
        self.service.close()


def _children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    return []


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def play(
    seed: int, runs: int, workers: int, kills: int, *, real: bool = False, web: bool = True, limit: float = 900.0
) -> Report:
    """One round. Raises nothing for a failed promise: the report has it."""
    chance = random.Random(seed)
    trainer = HERE / "witness_trainer.py" if real else HERE.parent / "support" / "counting_trainer.py"
    config = {**TINY, "seed": seed} if real else COUNTING
    data = Path(tempfile.mkdtemp(prefix="chaos-"))
    report = Report(seed, runs)
    arena = Arena(data, workers, (sys.executable, str(trainer)), web)
    try:
        _until(lambda: not web or arena.web_answers(), 120, "the page")
        if real:  # what an undisturbed run tells, to compare every disturbed one with
            reference = _curve(arena, _finished(arena, arena.service.store.create(config)))
        else:
            reference = [(step, 1 / step) for step in range(1, COUNTING["steps"] + 1)]
        begun = time.monotonic()
        accepted = [_create(arena, config) for _ in range(runs)]
        _disturb(arena, accepted, kills, chance, report, begun + limit)
        _until(lambda: _open(arena, accepted) == 0, max(1.0, begun + limit - time.monotonic()), "", quiet=True)
        report.seconds = time.monotonic() - begun
        _until(lambda: not web or arena.web_answers(), 60, "", quiet=True)
        report.page_back = not web or arena.web_answers()
        _judge(arena, accepted, reference, report)
    finally:
        arena.close()
        if report.passed:
            shutil.rmtree(data, ignore_errors=True)
        else:
            print(f"Kept for a look: {data}", file=sys.stderr)
    return report


def _disturb(
    arena: Arena, accepted: list[Run], kills: int, chance: random.Random, report: Report, deadline: float
) -> None:
    """Kill at moments spread over the whole round: each next one when its share of the runs is done."""
    kinds = [KINDS[at % len(KINDS)] for at in range(kills)]
    if arena.web is None:
        kinds = [kind if kind != "web" else "trainer" for kind in kinds]
    chance.shuffle(kinds)
    moments = sorted(chance.uniform(0.02, 0.9) * len(accepted) for _ in kinds)
    for kind, moment in zip(kinds, moments):
        _until(
            lambda at=moment: len(accepted) - _open(arena, accepted) >= at, deadline - time.monotonic(), "", quiet=True
        )
        time.sleep(chance.uniform(0.0, 0.4))
        while time.monotonic() < deadline and not arena.kill(kind, chance):
            time.sleep(0.02)
        report.kills[kind] += 1


def _create(arena: Arena, config: dict[str, Any]) -> Run:
    while True:  # a refusal (Redis is down just now) is no acceptance: whoever submits tries again
        try:
            return arena.service.store.create(config)
        except UserError:
            time.sleep(0.1)


def _finished(arena: Arena, run: Run) -> Run:
    _until(lambda: arena.service.store.get(run.id).state == "succeeded", 120, "the reference run")
    return run


def _open(arena: Arena, accepted: list[Run]) -> int:
    """How many have not ended; all of them while Redis is away."""
    ledger = arena.service.store.ledger
    try:
        pipe = ledger.redis.pipeline(transaction=False)
        for run in accepted:
            pipe.hget(ledger.key("run", run.id), "state")
        return sum(state in ("queued", "running") for state in pipe.execute())
    except Exception:
        return len(accepted)


def _curve(arena: Arena, run: Run) -> list[tuple[int, float]]:
    return [
        (event["step"], event["loss"]) for event in arena.service.store.events(run.id)[0] if event["kind"] == "step"
    ]


def _judge(arena: Arena, accepted: list[Run], reference: list[tuple[int, float]], report: Report) -> None:
    for run in accepted:
        now = arena.service.store.get(run.id)
        if now.state != "succeeded":
            report.lost.append(f"{run.id}: {now.state} {now.error or ''}")
            continue
        report.attempts += now.attempt
        done = [json.loads(line) for line in (run.folder / "done.txt").read_text().splitlines()]
        report.steps += len(reference)
        report.redone += len(done) - len(reference)
        if overlap(done):
            report.overlapping.append(run.id)
        # From the stream and, as after a restart without Redis, from the files.
        from_files = _curve_of_files(run.folder)
        if _curve(arena, run) != reference or from_files != reference:
            report.broken.append(run.id)


def _curve_of_files(folder: Path) -> list[tuple[int, float]]:
    from pointsmith.worker.timeline import Cursor, read_entries, tell

    events, _ = tell(read_entries(folder, Cursor()), Cursor())
    return [(event["step"], event["loss"]) for event in events if event["kind"] == "step"]


def overlap(done: list[dict[str, Any]]) -> bool:
    """Whether two trainers worked at the same time, or an older token after a newer one.

    A trainer's time goes from its first step to its last; those of two trainers may not touch.
    """
    spans: dict[int, list[float]] = {}
    for line in done:
        spans.setdefault(line["pid"], []).append(line["time"])
    ordered = sorted((min(times), max(times)) for times in spans.values())
    crossing = any(later[0] <= earlier[1] for earlier, later in pairwise(ordered))
    tokens = [line["token"] for line in sorted(done, key=lambda line: line["time"])]
    return crossing or tokens != sorted(tokens)


def _until(condition: Any, limit: float, what: str, quiet: bool = False) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            if quiet:
                return
            raise TimeoutError(f"waited {limit:.0f} s in vain for {what}")
        time.sleep(0.05)


def main() -> int:
    """Play the rounds, print the table; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trainer", choices=["counting", "real"], default="counting", help="what a run does")
    parser.add_argument("--no-web", action="store_true", help="without the page")
    parser.add_argument("--limit", type=float, default=900.0, metavar="SECONDS", help="for one round")
    options = parser.parse_args()
    print(HEAD, flush=True)
    passed = True
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        report = play(
            seed, options.runs, options.workers, options.kills,
            real=options.trainer == "real", web=not options.no_web, limit=options.limit,
        )  # fmt: skip
        print(report.row(), flush=True)
        if not report.page_back:
            print("The page did not answer after the kills", file=sys.stderr)
        for name in ("lost", "overlapping", "broken"):
            for one in getattr(report, name):
                print(f"{name}: {one}", file=sys.stderr)
        passed = passed and report.passed
    print("passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
