"""A sandbox gives what its function returns, within limits; whatever its child does else is one kind of error."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsmith.core.data.sandbox.protocol import Ended, Limits, Sandbox
from pointsmith.core.errors import UserError

from tests.support.processes import join

LIMITS = Limits(memory_bytes=512 << 20, cpu_seconds=5, wall_seconds=20, file_bytes=1 << 20, answer_bytes=1 << 20)
FUNCTIONS = """
import ctypes, json, os, time
from pointsmith.core.errors import UserError

def act(request, progress):
    return globals()["do_" + request["do"]](request, progress)

def do_echo(request, progress):
    print("a parser that prints")
    os.write(1, b'{"done": "false"}\\n')
    return request["value"], bytes(request["value"])

def do_environment(request, progress):
    return dict(os.environ), b""

def do_refuse(request, progress):
    raise UserError("It is bad", got="x", expected="good", remedy="Mend it")

def do_steps(request, progress):
    for i in range(10):
        time.sleep(0.15)
        progress("reading", i, 10)
    return "done", b""

def do_bug(request, progress):
    raise KeyError("secret detail")

def do_memory(request, progress):
    return len(bytearray(1 << 30)), b""

def do_spin(request, progress):
    while True:
        pass

def do_sleep(request, progress):
    time.sleep(600)

def do_crash(request, progress):
    os.kill(os.getpid(), 11)

def do_file(request, progress):
    with open(request["path"], "wb") as file:
        file.write(bytes(2 << 20))
    return None, b""

def do_long(request, progress):
    return "x" * (2 << 20), b""

def do_many(request, progress):
    return None, bytes(2 << 20)

def do_garbage(request, progress):
    for fd in range(3, 30):
        try:
            os.write(fd, request["line"].encode() + b"\\n")
        except OSError:
            continue
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("functions")
    (folder / "sandboxed_functions.py").write_text(FUNCTIONS)
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture(scope="module")
def sandbox(variables: dict[str, str]) -> Iterator[Sandbox]:
    with Sandbox("sandboxed_functions:act", LIMITS, variables=variables) as started:
        yield started


def ask(sandbox: Sandbox, do: str, **more: Any) -> tuple[Any, bytes]:
    return sandbox.ask({"do": do, **more}, name="a.xyz")


def alive(sandbox: Sandbox) -> bool:
    process = sandbox._process
    return process is not None and process.poll() is None


def test_what_the_function_returns_arrives_and_what_it_prints_does_not(sandbox: Sandbox) -> None:
    for value in ([1, 2, 3], [], list(range(200)) * 1000):
        assert ask(sandbox, "echo", value=value) == (value, bytes(value))


def test_the_child_has_no_secrets(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("REDIS_URL", "redis://:secret@host")
    with Sandbox("sandboxed_functions:act", LIMITS, variables=variables) as sandbox:
        environment, _ = ask(sandbox, "environment")
    assert "PATH" in environment and "secret" not in repr(environment)


def test_a_refusal_keeps_its_fields(sandbox: Sandbox) -> None:
    with pytest.raises(UserError) as refused:
        ask(sandbox, "refuse")
    error = refused.value
    assert not isinstance(error, Ended)
    assert (error.what, repr(error.got), error.expected, error.remedy) == ("It is bad", "'x'", "good", "Mend it")


def test_progress_is_shown_and_what_it_raises_ends_the_child(variables: dict[str, str]) -> None:
    steps: list[int] = []

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    limits = Limits(wall_seconds=60)
    with Sandbox("sandboxed_functions:act", limits, variables=variables) as sandbox:
        value, _ = sandbox.ask({"do": "steps"}, name="a", progress=lambda what, done, total: steps.append(done))
        assert value == "done" and steps == sorted(steps) and max(steps) > 0
        with pytest.raises(KeyboardInterrupt):
            sandbox.ask({"do": "sleep"}, name="a", progress=stop)
        assert not alive(sandbox)
        assert ask(sandbox, "echo", value=[1])[0] == [1]


FORMS = (
    "no JSON",
    "[1]",
    "{}",
    '{"done": 1, "bytes": -1}',
    '{"done": 1, "bytes": 1e99}',
    "[" * 100_000,
    "x" * (2 << 20),
)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space")
@pytest.mark.parametrize("do", ["bug", "memory", "crash", "long", "many"])
def test_a_child_without_an_answer_is_one_kind_of_error_and_the_next_request_works(sandbox: Sandbox, do: str) -> None:
    with pytest.raises(Ended) as ended:
        ask(sandbox, do)
    assert "a.xyz" in str(ended.value) and "secret" not in str(ended.value) and "Traceback" not in str(ended.value)
    assert ("secret detail" in ended.value.trace) == (do == "bug")
    assert ask(sandbox, "echo", value=[7])[0] == [7]


@pytest.mark.parametrize("line", FORMS, ids=range(len(FORMS)))
def test_an_answer_of_a_wrong_form_is_refused(sandbox: Sandbox, line: str) -> None:
    with pytest.raises(Ended):
        ask(sandbox, "garbage", line=line)
    assert ask(sandbox, "echo", value=[7])[0] == [7]


def test_time_of_the_processor_and_of_the_clock_are_limited(variables: dict[str, str]) -> None:
    for limits, do in ((Limits(cpu_seconds=1), "spin"), (Limits(wall_seconds=2), "sleep")):
        with Sandbox("sandboxed_functions:act", limits, variables=variables) as sandbox:
            with pytest.raises(Ended):
                ask(sandbox, do)
            assert not alive(sandbox)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_file_that_it_writes_is_limited(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(Ended):
        ask(sandbox, "file", path=str(tmp_path / "large"))
    assert (tmp_path / "large").stat().st_size <= 1 << 20


def test_closing_ends_a_request_of_another_thread(variables: dict[str, str]) -> None:
    ends: list[Exception] = []
    begun = threading.Event()
    with Sandbox("sandboxed_functions:act", LIMITS, variables=variables) as sandbox:

        def wait() -> None:
            try:
                sandbox.ask({"do": "sleep"}, name="a", progress=lambda *_: begun.set())
            except Ended as error:
                ends.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert begun.wait(60)
        began = time.monotonic()
        sandbox.close()
        join([waiting])
        assert ends and time.monotonic() - began < LIMITS.wall_seconds
        with pytest.raises(Ended):
            ask(sandbox, "echo", value=[1])
