"""Two machines that share nothing but Redis (over TCP) and an artefact store; each is a data folder of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker.artefacts import ArtefactError, Artefacts
from pointsmith.worker.redis_binary import find_redis_server
from pointsmith.worker.run import Run
from pointsmith.worker.service import Service
from pointsmith.worker.store import RunStore

from tests.support.paths import COUNTING_TRAINER
from tests.support.processes import PATIENCE, Child
from tests.support.waiting import FAST, processes_on, until

TRAINER = (sys.executable, str(COUNTING_TRAINER))
HOST = """
import sys
from pathlib import Path
from pointsmith.worker.service import Service, ending_on_sigterm
from pointsmith.worker.timing import Timing
data, timing, trainer = Path(sys.argv[1]), Timing.from_json(sys.argv[2]), tuple(sys.argv[3:])
with ending_on_sigterm(), Service(data, timing=timing, trainer=trainer) as s:
    try:
        s.wait()
    except KeyboardInterrupt:
        pass
"""


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis with a password on a TCP port of this machine."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    password = secrets.token_hex(8)
    folder = tmp_path / "redis"
    folder.mkdir()
    command = [find_redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
    with Child([*map(str, command), "--requirepass", password], stdout=subprocess.DEVNULL) as server:
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        until(lambda: _answers(url, folder), "Redis")
        yield url
        server.terminate()


def _answers(url: str, folder: Path) -> bool:
    store = RunStore(url, folder)
    try:
        return store.count() == 0
    except UserError:
        return False
    finally:
        store.close()


class Hosts:
    """Starts "machines": launchers as processes of their own, each with one worker."""

    def __init__(self, tmp_path: Path, url: str, artefacts: str | None):
        self.tmp_path, self.started = tmp_path, {}
        self.environment = {**os.environ, "REDIS_URL": url}
        if artefacts:
            self.environment["POINTSMITH_ARTEFACTS"] = artefacts

    def start(self, name: str, **popen: Any) -> Child:
        command = [sys.executable, "-c", HOST, str(self.tmp_path / name), FAST.to_json(), *TRAINER]
        self.started[name] = Child(command, env=self.environment, text=True, **popen)
        return self.started[name]

    def kill(self, name: str) -> None:
        """As when the machine loses its power: launcher, worker and trainer at once."""
        self.started[name].kill()
        self.started[name].wait(PATIENCE)
        for process in processes_on(self.tmp_path / name):
            process.kill()

    def close(self) -> None:
        for process in self.started.values():
            process.terminate()
        for name, process in self.started.items():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill(name)


@pytest.fixture
def hosts(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    url = (tmp_path / "artefacts").as_uri()
    monkeypatch.setenv("POINTSMITH_ARTEFACTS", url)
    found = Hosts(tmp_path, redis_url, url)
    yield found
    found.close()


def _page(tmp_path: Path, url: str) -> Service:
    return Service(tmp_path / "page", 0, url, timing=FAST)


def _steps(page: Service, run: Run) -> list[int]:
    return [event["step"] for event in page.store.events(run.id)[0] if event["kind"] == "step"]


def _done(folder: Path, run: Run) -> list[int]:
    path = folder / "runs" / run.id / "done.txt"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_run_goes_on_where_the_other_machine_died(tmp_path: Path, redis_url: str, hosts: Hosts) -> None:
    with _page(tmp_path, redis_url) as page:
        hosts.start("a")
        run = page.store.create({"steps": 60, "seconds": 0.1, "every": 10})
        published = lambda: (page.store.artefacts.newest(run.id) or (0, {}))[1]  # noqa: E731
        until(lambda: "checkpoint.json" in published() and len(_done(tmp_path / "a", run)) >= 25, "checkpoints")
        hosts.start("b")
        hosts.kill("a")
        before = len(_done(tmp_path / "a", run))
        until(lambda: bool(_done(tmp_path / "b", run)), "the other machine")
        first = _done(tmp_path / "b", run)[0]
        assert before - 20 <= first <= before + 1, "it went on from the last or last but one checkpoint"
        until(lambda: page.store.get(run.id).state == "succeeded", "the end")
        assert _steps(page, run) == list(range(1, 61))
        ended = page.store.get(run.id)
        assert ended.attempt == 2
        # What the other machine made can be had here, though the page's folder never saw it.
        assert json.loads(page.store.bring(ended, "result.json").read_text())["kind"] == "finished"
        assert page.store.log(run.id)[-1].endswith("finished")
        assert not [name for name in published() if name.startswith("checkpoint")], "a result needs no checkpoint"


def test_a_cancelled_run_goes_on_as_another_one_elsewhere(tmp_path: Path, redis_url: str, hosts: Hosts) -> None:
    """Neither the page's folder nor the new machine's has ever seen the checkpoint: it comes from the store."""
    with _page(tmp_path, redis_url) as page:
        hosts.start("a")
        run = page.store.create({"steps": 60, "seconds": 0.1, "every": 10})
        published = lambda: (page.store.artefacts.newest(run.id) or (0, {}))[1]  # noqa: E731
        until(lambda: "checkpoint.json" in published() and len(_done(tmp_path / "a", run)) >= 25, "checkpoints")
        page.store.cancel(run.id)
        until(lambda: page.store.get(run.id).state == "cancelled", "the end")
        hosts.started["a"].send_signal(signal.SIGTERM)
        assert hosts.started["a"].wait(15) == 0
        stopped = page.store.get(run.id)
        assert stopped.away and not (stopped.folder / "checkpoint.json").exists()
        more = page.store.create(stopped.config, after=stopped)
        hosts.start("b")
        until(lambda: page.store.get(more.id).state == "succeeded", "the other run's end")
        assert _done(tmp_path / "b", more)[0] > 10, "it went on from a checkpoint"
        assert _steps(page, more) == list(range(1, 61))
        fresh = page.store.create({"steps": 1, "seconds": 0})
        page.store.cancel(fresh.id)
        with pytest.raises(UserError, match="no checkpoint"):
            page.store.create(fresh.config, after=page.store.get(fresh.id))


def test_a_frozen_machine_and_its_successor_never_train_together(tmp_path: Path, redis_url: str, hosts: Hosts) -> None:
    with _page(tmp_path, redis_url) as page:
        hosts.start("a")
        run = page.store.create({"steps": 80, "seconds": 0.05, "every": 5})
        until(lambda: len(_done(tmp_path / "a", run)) >= 10, "steps")
        line = json.loads((tmp_path / "a" / "runs" / run.id / "done.txt").read_text().splitlines()[-1])
        supervisor = psutil.Process(line["pid"]).parent()
        assert supervisor is not None
        supervisor.suspend()  # the trainer itself is not frozen, and no lock reaches the other machine
        try:
            hosts.start("b")
            until(lambda: bool(_done(tmp_path / "b", run)), "the other machine")
        finally:
            supervisor.resume()
        until(lambda: page.store.get(run.id).state == "succeeded", "the end")
        spans = []
        for name in "ab":
            lines = (tmp_path / name / "runs" / run.id / "done.txt").read_text().splitlines()
            spans.append([json.loads(one)["time"] for one in lines])
        assert max(spans[0]) < min(spans[1])
        assert _steps(page, run) == list(range(1, 81))


def test_draining_hands_the_very_last_step_over(tmp_path: Path, redis_url: str, hosts: Hosts) -> None:
    with _page(tmp_path, redis_url) as page:
        hosts.start("a")
        run = page.store.create({"steps": 40, "seconds": 0.1, "every": 1000})
        until(lambda: len(_done(tmp_path / "a", run)) >= 5, "steps")
        hosts.started["a"].send_signal(signal.SIGTERM)
        assert hosts.started["a"].wait(15) == 0
        hosts.start("b")
        until(lambda: page.store.get(run.id).state == "succeeded", "the end")
        assert len(_done(tmp_path / "a", run)) < 40
        assert _done(tmp_path / "b", run) == list(range(1, 41))  # its file came along, and not one step is there twice
        assert _steps(page, run) == list(range(1, 41))


def test_streams_are_put_away_where_every_machine_finds_them(tmp_path: Path, redis_url: str, hosts: Hosts) -> None:
    with _page(tmp_path, redis_url) as page:
        hosts.start("a")
        run = page.store.create({"steps": 5, "seconds": 0})
        until(lambda: page.store.get(run.id).state == "succeeded", "the end")
        ledger = page.store.ledger
        ledger.redis.zadd(ledger.key("ended"), {run.id: 1.0})  # as if it had ended long ago
        page.store.tidy()
        assert not ledger.redis.exists(ledger.key("ev", run.id))
        assert _steps(page, run) == [1, 2, 3, 4, 5]
        elsewhere = RunStore(redis_url, tmp_path / "third", timing=FAST)
        found, _ = elsewhere.events(run.id)
        assert [event["step"] for event in found if event["kind"] == "step"] == [1, 2, 3, 4, 5]
        elsewhere.delete(run.id)
        assert elsewhere.artefacts is not None and elsewhere.artefacts.newest(run.id) is None
        elsewhere.close()


def test_an_uploaded_data_set_is_there_on_the_other_machine(tmp_path: Path, redis_url: str, hosts: Hosts) -> None:
    with _page(tmp_path, redis_url) as page:
        name = secrets.token_hex(16)
        upload = page.data_dir / "uploads" / name
        (upload / "scans" / "cup").mkdir(parents=True)
        (upload / "scans" / "cup" / "1.xyz").write_text("0 0 0\n1 1 1\n")
        path = f"{upload}/scans"
        run = page.store.create({"steps": 1, "seconds": 0, "data": {"path": path}})
        assert run.config["data"]["path"] == path  # here it is shown as it was given
        hosts.start("a")
        until(lambda: page.store.get(run.id).state == "succeeded", "the end")
        there = tmp_path / "a" / "uploads" / name / "scans" / "cup" / "1.xyz"
        assert there.read_text() == "0 0 0\n1 1 1\n"
        record = json.loads((tmp_path / "a" / "runs" / run.id / "run.json").read_text())
        assert record["config"]["data"]["path"] == f"uploads/{name}/scans"


def test_a_machine_that_shares_nothing_is_refused(tmp_path: Path, redis_url: str) -> None:
    with _page(tmp_path, redis_url):
        stranger = Hosts(tmp_path, redis_url, None).start("stranger", stderr=subprocess.PIPE)
        _, stderr = stranger.finish()
        assert stranger.returncode == 1
        assert "shares neither data folder nor artefact store" in stderr and "POINTSMITH_ARTEFACTS" in stderr
    with Service(tmp_path / "stranger", 0, redis_url, timing=FAST):  # the note of the one that left does not count
        pass


@pytest.mark.parametrize("url", ["memory://point-smith-test", "folder", "file"])
def test_every_store_keeps_what_it_is_given(tmp_path: Path, url: str) -> None:
    place = {"folder": str(tmp_path / "plain"), "file": (tmp_path / "uri").as_uri()}.get(url, url)
    store = Artefacts(place)
    assert store.check() == store.check()
    source = tmp_path / "weights"
    source.write_bytes(b"12345")
    run_id = secrets.token_hex(12)
    one = store.put_run_file(run_id, 1, "checkpoint/a", source)
    store.publish(run_id, 1, {"checkpoint/a": one})
    source.write_bytes(b"678")
    two = store.put_run_file(run_id, 2, "checkpoint/b", source)
    store.publish(run_id, 2, {"checkpoint/b": two})
    store.publish(run_id, 1, {"checkpoint/a": one})  # an attempt that was superseded and does not know it
    assert store.newest(run_id) == (2, {"checkpoint/b": two})
    store.forget(run_id, 1, ["1/checkpoint/a"])
    store.fetch(run_id, {"checkpoint/a": one, "checkpoint/b": two}, tmp_path / "back")
    assert [(tmp_path / "back" / "checkpoint" / name).read_bytes() for name in "ab"] == [b"12345", b"678"]
    store.forget(run_id, 2, [])
    with pytest.raises(ArtefactError, match="cannot be read"):
        store.fetch(run_id, {"checkpoint/a": one}, tmp_path / "gone")
    store.delete_run(run_id)
    assert store.newest(run_id) is None


def test_a_damaged_file_and_a_hostile_manifest_are_not_believed(tmp_path: Path) -> None:
    store = Artefacts(str(tmp_path / "store"))
    source = tmp_path / "weights"
    source.write_bytes(b"12345")
    run_id = secrets.token_hex(12)
    one = store.put_run_file(run_id, 1, "a", source)
    (tmp_path / "store" / "runs" / run_id / "1" / "a").write_bytes(b"12X45")
    with pytest.raises(ArtefactError, match="damaged"):
        store.fetch(run_id, {"a": one}, tmp_path / "back")
    assert not (tmp_path / "back" / "a").exists()
    store.publish(run_id, 1, {"a": one})
    store.publish(run_id, 2, {"../../escape": one})
    assert store.newest(run_id) == (1, {"a": one})


def test_a_store_that_cannot_be_written_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POINTSMITH_ARTEFACTS", str(tmp_path / "file" / "store"))
    with pytest.raises(UserError, match="artefact store cannot be written"):
        Service(tmp_path / "data", 0)
    assert processes_on(tmp_path) == []
    monkeypatch.setenv("POINTSMITH_ARTEFACTS", "nonsense://bucket")
    with pytest.raises(UserError, match="artefact store"):
        Service(tmp_path / "data", 0)
