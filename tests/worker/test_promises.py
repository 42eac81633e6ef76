"""What Pointsmith promises about runs, each proven with real processes and real kills.

Elsewhere: cancel (test_service, test_store), a killed trainer, worker, launcher or Redis (test_service), two machines
(test_hosts), all of it at once (tests/chaos).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from pointsmith.core.errors import UserError
from pointsmith.worker.capability import Needs, queues_of
from pointsmith.worker.reaper import Reaper
from pointsmith.worker.run import Run
from pointsmith.worker.service import Service
from pointsmith.worker.store import RunStore

from tests.support.paths import CHAOS, COUNTING_TRAINER, ROOT
from tests.support.processes import PATIENCE, Child
from tests.support.waiting import FAST, keeps, processes_on, until

TRAINER = (sys.executable, str(COUNTING_TRAINER))
REAL = (sys.executable, str(CHAOS / "witness_trainer.py"))
LAUNCHER = CHAOS / "launcher.py"
TINY: dict[str, Any] = yaml.safe_load((CHAOS / "tiny.yaml").read_text())
TINY |= {"data": {**TINY["data"], "train_per_class": 16}, "epochs": 8}


def _done(run: Run) -> list[dict[str, Any]]:
    path = run.folder / "done.txt"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _curve(store: RunStore, run: Run) -> list[tuple[int, float]]:
    return [(event["step"], event["loss"]) for event in store.events(run.id)[0] if event["kind"] == "step"]


def _succeeded(store: RunStore, run: Run) -> Run:
    until(lambda: store.get(run.id).state in ("succeeded", "failed"), "the end")
    ended = store.get(run.id)
    assert ended.state == "succeeded", ended.error
    return ended


def _launch(data: Path, *trainer: str, workers: int = 1) -> Child:
    command = [sys.executable, str(LAUNCHER), str(data), str(workers), FAST.to_json(), *trainer]
    return Child(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _kill_everything(data: Path, launcher: Child) -> None:
    launcher.kill()
    launcher.wait(PATIENCE)
    for process in processes_on(data):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    until(lambda: not processes_on(data), "the end of all")


@pytest.mark.slow
def test_accepted_runs_survive_kill_9_of_everything(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with the real trainer the curve is, to the last digit, that of a run that nobody disturbed.

    To the last digit, that is, with as many threads: sums are split among them.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    launcher = _launch(data, *REAL)
    with Service(data, 0, timing=FAST) as page:
        calm, disturbed, waiting = (page.store.create(TINY) for _ in range(3))
        until(lambda: len(_done(disturbed)) >= 60, "the second run to be under way")
        # Nothing may keep Redis alive but what is killed.
        page.close()
        _kill_everything(data, launcher)
    before = len(_done(disturbed))
    with Service(data, 1, timing=FAST, trainer=REAL) as service:
        ended = _succeeded(service.store, disturbed)
        _succeeded(service.store, waiting)
        assert ended.attempt == 2
        curve = _curve(service.store, calm)
        assert len(curve) > 100
        assert _curve(service.store, disturbed) == curve == _curve(service.store, waiting)
        assert before > 0 and len(_done(disturbed)) < 2 * len(curve)


def test_a_frozen_owner_and_its_successor_never_train_together(data: Path) -> None:
    """Lease and token decide who owns the run; the lock on its folder decides who trains."""
    launcher = _launch(data, *TRAINER, workers=2)
    with Service(data, 0, timing=FAST) as page:
        run = page.store.create({"steps": 100, "seconds": 0.05, "every": 5})
        until(lambda: len(_done(run)) >= 10, "steps")
        trainer = psutil.Process(_done(run)[-1]["pid"])
        supervisor = trainer.parent()
        assert supervisor is not None
        supervisor.suspend()
        try:
            until(lambda: page.store.get(run.id).attempt == 2, "the successor")
            time.sleep(1.0)
        finally:
            supervisor.resume()
        ended = _succeeded(page.store, run)
        assert ended.attempt >= 2
        spans: dict[int, list[float]] = {}
        for line in _done(run):
            spans.setdefault(line["pid"], []).append(line["time"])
        ordered = sorted((min(times), max(times)) for times in spans.values())
        assert len(ordered) == 2, "the successor trained, too"
        assert ordered[0][1] < ordered[1][0]
        assert [step for step, _ in _curve(page.store, run)] == list(range(1, 101))
        launcher.terminate()
        assert launcher.wait(10) == 0


@pytest.mark.slow
def test_killing_and_restarting_the_page_changes_nothing(data: Path) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    app = [sys.executable, str(ROOT / "app.py"), "--no-worker", "--port", str(port), "--data", str(data)]

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    web = Child(app, stdout=subprocess.DEVNULL)  # the page comes first, so it has started Redis
    until(answers, "the page")
    with Service(data, 1, timing=FAST, trainer=TRAINER) as service:
        run = service.store.create({"steps": 2000, "seconds": 0.1, "every": 10})
        until(lambda: len(_done(run)) >= 3, "steps")
        web.kill()
        web.wait(PATIENCE)
        web = Child(app, stdout=subprocess.DEVNULL)
        until(answers, "the page again")
        before = len(_done(run))
        until(lambda: len(_done(run)) > before, "a step after the restart")
        found = service.store.get(run.id)
        assert (found.state, found.attempt) == ("running", 1)
        done = [line["step"] for line in _done(run)]
        assert done == list(range(1, len(done) + 1))
        service.store.cancel(run.id)
        web.terminate()
        assert web.wait(15) == 0


def test_runs_go_only_where_they_can_be_trained(data: Path) -> None:
    with Service(data, 1, timing=FAST, trainer=TRAINER, device="cpu") as service:
        picky = service.store.create({"steps": 1, "seconds": 0}, needs=Needs("cuda", 24))
        hint, service.store.hint = service.store.hint, lambda *_: None
        anywhere = service.store.create({"steps": 1, "seconds": 0})  # and its hint is lost
        service.store.hint = hint
        plain = service.store.create({"steps": 1, "seconds": 0}, needs=Needs("cpu"))
        _succeeded(service.store, plain)
        _succeeded(service.store, anywhere)  # though hints wait in another queue
        found = service.store.get(picky.id)
        assert (found.state, found.needs, found.position) == ("queued", Needs("cuda", 24), 1)
        (worker,) = service.store.workers()
        assert worker.queues == ("cpu", "any") and worker.memory_gb is not None and worker.memory_gb > 0.1
        assert json.loads((picky.folder / "run.json").read_text())["needs"] == {"device": "cuda", "memory_gb": 24}


def test_memory_classes() -> None:
    assert queues_of("cuda", 23.5)[:2] == ("cuda-24", "cuda-16")
    assert queues_of("cuda", None) == ("cuda", "any")
    assert Needs("cuda", 17).queue == "cuda-24" and Needs("cuda", 24).queue in queues_of("cuda", 22.5)
    assert Needs("cuda", 40).queue not in queues_of("cuda", 24)
    for device, memory in (("tpu", None), ("cpu", 8.0), ("cuda", 1000.0)):
        with pytest.raises(UserError):
            Needs(device, memory)  # type: ignore[arg-type]


def test_nothing_is_left_in_redis_after_many_runs(data: Path) -> None:
    timing = replace(FAST, keep_streams=-5.0, tidy=0.1)
    with Service(data, 1, timing=timing, trainer=TRAINER) as service:
        redis, key = service.store.ledger.redis, service.store.ledger.key
        left: list[set[str]] = []
        for _ in range(2):
            runs = [service.store.create({"steps": 5, "seconds": 0}) for _ in range(6)]
            runs += [service.store.create({"steps": 5, "seconds": 0, "die": "user"})]
            cancelled = service.store.create({"steps": 5, "seconds": 0})
            service.store.cancel(cancelled.id)
            for run in runs:
                until(lambda one=run: service.store.get(one.id).state in ("succeeded", "failed"), "the end")
            streams = [key("ev", run.id) for run in runs]
            until(lambda names=streams: not redis.exists(*names), "the streams to be put away")
            for run in runs[:6]:
                assert [step for step, _ in _curve(service.store, run)] == [1, 2, 3, 4, 5]
            for run in [*runs, cancelled]:
                service.store.delete(run.id)
            until(lambda: not redis.exists(key("resent")), "the resend pause to pass")
            left.append({str(name) for name in redis.keys("*")})
        assert left[0] == left[1]
        assert len(left[1]) < 20, left[1]


def test_hints_and_workers_that_nobody_wants_are_dropped(store: RunStore) -> None:
    redis, ledger = store.ledger.redis, store.ledger
    for _ in range(150):  # for a queue that no worker serves
        store.cancel(store.create({}, needs=Needs("cuda")).id)
    waiting = store.create({}, needs=Needs("cuda"))
    assert redis.llen("ps:celery:cuda\x06\x166") == 151
    reaper = Reaper(store)
    reaper.sweep()
    assert not redis.exists("ps:celery:cuda\x06\x166")
    time.sleep(FAST.resend + 0.2)
    reaper.sweep()
    assert redis.llen("ps:celery:cuda\x06\x166") == 1, "the one that still waits got a new hint"
    assert store.get(waiting.id).state == "queued"
    sign = {"host": "h", "pid": 1, "device": "cpu", "heartbeat": time.time() - 10_000}
    redis.hset(ledger.key("workers"), "long-gone", json.dumps(sign))
    store.tidy()
    assert not redis.hexists(ledger.key("workers"), "long-gone")


def test_sigstop_of_the_trainer_does_not_hold_a_cancel_up(data: Path) -> None:
    with Service(data, 1, timing=FAST, trainer=TRAINER) as service:

        def once() -> float:
            run = service.store.create({"steps": 1000, "seconds": 0.05})
            until(lambda: len(_done(run)) >= 2, "steps")
            os.kill(_done(run)[-1]["pid"], signal.SIGSTOP)
            begun = time.monotonic()
            service.store.cancel(run.id)
            until(lambda: service.store.get(run.id).state == "cancelled", "the end")
            return time.monotonic() - begun

        keeps(FAST.cancel_grace + 1.0, once)


def test_a_copy_of_the_living_folder_is_a_backup(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with Service(data, 1, timing=FAST, trainer=TRAINER) as service:
        ended = service.store.create({"steps": 3, "seconds": 0})
        _succeeded(service.store, ended)
        running, waiting = (service.store.create({"steps": 40, "seconds": 0.05, "every": 5}) for _ in range(2))
        until(lambda: len(_done(running)) >= 12, "steps")
        shutil.copytree(data, copy, ignore=lambda folder, names: [name for name in names if name.endswith(".sock")])
    with Service(copy, 1, timing=FAST, trainer=TRAINER) as service:
        assert service.store.get(ended.id).state == "succeeded"
        for run in (running, waiting):
            _succeeded(service.store, run)
            assert [step for step, _ in _curve(service.store, run)] == list(range(1, 41))
        assert service.store.get(running.id).attempt == 2
    assert processes_on(copy) == []


def test_a_start_in_the_very_moment_of_a_redis_crash_succeeds(data: Path) -> None:
    with Service(data, 0, timing=FAST) as first:
        first.store.create({"steps": 1, "seconds": 0})
        pid = int(first.store.ledger.redis.info("server")["process_id"])
        before = RunStore.read_in

        def crash(store: RunStore) -> int:
            RunStore.read_in = before  # type: ignore[method-assign]
            os.kill(pid, signal.SIGKILL)
            until(lambda: not psutil.pid_exists(pid), "the crash")
            return before(store)

        RunStore.read_in = crash  # type: ignore[method-assign]
        try:
            with Service(data, 0, timing=FAST) as second:
                assert second.store.count() == 1
        finally:
            RunStore.read_in = before  # type: ignore[method-assign]
