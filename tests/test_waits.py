"""No test waits without a bound, and Ctrl-C reaches the children of a suite that was started in the background."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tests.support.processes import PATIENCE, Child

TESTS = ROOT / "tests"
HELPER = TESTS / "support" / "processes.py"
PROGRAMS = {TESTS / "chaos" / "launcher.py"}
"""Programs that wait until they are killed."""
WAITING = {"wait", "communicate", "join", "acquire", "result"}
"""Methods that wait for ever when they get no argument."""
RUNNING = {"run", "call", "check_call", "check_output"}


def unbounded(tree: ast.Module) -> list[int]:
    """Return the lines of calls that may wait for ever, or that start a child for which nothing bounds the waits."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, node.func.value
        of_subprocess = isinstance(owner, ast.Name) and owner.id == "subprocess"
        if (
            (name in WAITING and not node.args and not node.keywords)
            or (name == "readline" and isinstance(owner, ast.Attribute) and owner.attr in {"stdout", "stderr"})
            or (of_subprocess and name == "Popen")
            or (of_subprocess and name in RUNNING and not any(word.arg == "timeout" for word in node.keywords))
        ):
            lines.append(node.lineno)
    return lines


def test_no_wait_is_unbounded() -> None:
    files = [path for path in TESTS.rglob("*.py") if path != HELPER and path not in PROGRAMS]
    found = {str(path.relative_to(ROOT)): unbounded(ast.parse(path.read_text(encoding="utf-8"))) for path in files}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("process.wait()", 1),
        ("process.communicate()", 1),
        ("process.stdout.readline()", 1),
        ("subprocess.run(words)", 1),
        ("subprocess.Popen(words)", 1),
        ("thread.join()", 1),
        ("process.wait(5); ', '.join(words); event.wait(timeout=3); subprocess.run(words, timeout=9)", 0),
    ],
)
def test_the_check_itself(code: str, count: int) -> None:
    assert len(unbounded(ast.parse(code))) == count


@pytest.mark.skipif(sys.platform == "win32", reason="signals are inherited on POSIX only")
def test_children_of_a_background_suite_receive_ctrl_c() -> None:
    code = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from tests.support.processes import restore_interrupts\n"
        "restore_interrupts()\n"
        "child = 'import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)'\n"
        "subprocess.run([sys.executable, '-c', child], timeout=60, check=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_a_line_that_never_comes_ends_with_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.processes.PATIENCE", 0.5)
    with Child([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.PIPE, text=True) as child:
        assert child.read_line() == ""
    assert child.returncode != 0


def test_a_child_that_never_ends_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.processes.PATIENCE", 0.5)
    child = Child([sys.executable, "-c", "import time; time.sleep(600)"])
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=None)
    assert child.wait(60) != 0
