"""`submit`, `runs` and `cancel` against a real private Redis, and once against a real worker."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsmith.worker.service import Service

from tests.support.cli import TINY, Call, assert_refused

QUICK = ["--recipe", "demo", "--epochs", "1"]


@pytest.fixture
def idle(call: Call, tmp_path: Path) -> Iterator[Service]:
    """A service without workers: what is submitted stays in the queue."""
    with Service(tmp_path / "data", 0) as service:
        yield service


def test_without_a_service(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["runs"], ["submit", *QUICK], ["cancel", "0" * 24], ["runs", "abcd", "--follow"]):
        assert_refused(call(*words), "pointsmith serve")
    assert not (tmp_path / "data").exists()
    with socket.socket() as taken:  # bound but not listening: nobody else can answer there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}/0")
        for words in (["runs"], ["submit", *QUICK], ["cancel", "0" * 24], ["worker"]):
            assert_refused(call(*words), str(port))
    monkeypatch.setenv("REDIS_URL", "http://somewhere")
    assert_refused(call("runs"), "http://somewhere")


def test_after_the_service_ended(call: Call, tmp_path: Path) -> None:
    Service(tmp_path / "data", 0).close()
    assert_refused(call("runs"), "pointsmith serve")


def test_submit_list_show_cancel(call: Call, idle: Service) -> None:
    assert json.loads(call("runs", "--json").stdout) == []
    first = call("submit", *QUICK, "--name", "the first")
    assert first.exit_code == 0, first.stderr
    run_id = first.stdout.splitlines()[0]
    second = json.loads(call("submit", *QUICK, "--seed", "5", "--json").stdout)
    assert second["state"] == "queued" and second["position"] == 2
    assert second["config"]["seed"] == 5 and second["config"]["method"]["rank"] == 32

    listed = call("runs").output
    assert "the first" in listed and "queued (1)" in listed and "dapt on demo" in listed
    assert [run["id"] for run in json.loads(call("runs", "--json").stdout)] == [second["id"], run_id]
    assert len(json.loads(call("runs", "--limit", "1", "--json").stdout)) == 1
    shown = call("runs", run_id[:10]).output
    assert run_id in shown and "the first" in shown and "queued (1)" in shown
    assert json.loads(call("runs", run_id, "--json").stdout)["name"] == "the first"

    for words in (run_id[:10], run_id):
        cancelled = call("cancel", words)
        assert cancelled.exit_code == 0 and run_id in cancelled.output and "cancelled" in cancelled.output
    assert json.loads(call("cancel", second["id"], "--json").stdout)["state"] == "cancelled"
    followed = call("runs", run_id, "--follow")
    assert followed.exit_code == 1 and "cancelled" in followed.output


def test_refusals(call: Call, idle: Service, tmp_path: Path) -> None:
    assert_refused(call("runs", "feedfeed"), "'feedfeed'")
    assert_refused(call("cancel", "f" * 24), "f" * 24)
    assert_refused(call("runs", "--follow"), "--follow")
    assert_refused(call("submit", "--method", "datp"), "dapt?")
    assert_refused(call("submit", "--recipe", "own-scans"), "my-scans")
    assert_refused(call("submit", "--backbone", "own", "--set", "backbone.weights=absent.pth"), "absent.pth")
    assert json.loads(call("runs", "--json").stdout) == []
    assert list((tmp_path / "data" / "runs").iterdir()) == []


def test_ambiguous_beginning(call: Call, idle: Service) -> None:
    for _ in range(17):  # more than there are hexadecimal digits: two share their first
        idle.store.create({"method": {"kind": "x"}, "data": {"kind": "y"}})
    firsts = [run.id[0] for run in idle.store.list()]
    shared = next(first for first in firsts if firsts.count(first) > 1)
    assert_refused(call("runs", shared), repr(shared))


def test_submit_and_follow_a_real_run(call: Call, shapes: Path, tmp_path: Path) -> None:
    with Service(tmp_path / "data", 1):
        result = call("submit", *TINY[:-2], "--data", shapes, "--epochs", "2", "--follow")
        assert result.exit_code == 0, result.output
        assert "epoch 2/2" in result.stdout and "succeeded" in result.stdout
        adapter = result.stdout.strip().splitlines()[-1].removeprefix("Adapter: ")
        scores = json.loads(call("evaluate", adapter, "--json").stdout)
        (run,) = json.loads(call("runs", "--json").stdout)
        assert run["state"] == "succeeded"
        assert run["result"]["test_accuracy"] == pytest.approx(scores["accuracy"])
        lines = call("runs", run["id"], "--follow", "--json").stdout.splitlines()
        assert [json.loads(line)["kind"] for line in lines][-1] == "finished"
        failing = call("submit", *TINY[:-2], "--data", make_broken(tmp_path), "--follow")
        assert failing.exit_code == 1
        assert "Error: " in failing.stderr and "rod" in failing.stderr and "Traceback" not in failing.output


def make_broken(tmp_path: Path) -> Path:
    """A data set that only its reader finds out to be unfit."""
    from tests.support.cli import make_shapes

    folder = make_shapes(tmp_path / "broken", per_class=3)
    for path in (folder / "rod").iterdir():
        path.write_bytes(b"torn")
    return folder
