"""Run a function in a child process that has limits and no secrets, and exchange JSON lines and bytes with it.

Run as a module, `python -m pointsmith.core.data.sandbox.protocol MODULE:FUNCTION`, this is the child. The first line of
its standard input holds the limits, each further line is a request. The function is called as `function(request,
progress)` and returns a JSON value and bytes. The parent trusts no answer: length, time and form are checked.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import queue
import select
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ...errors import UserError
from ..child import end_child, environment, limit_cpu, limit_memory

Progress = Callable[[str, int, int], None]
Function = Callable[[dict[str, Any], Progress], "tuple[Any, bytes]"]

_CHUNK = 1 << 16
_TICK_SECONDS = 0.1
_HEADER_BYTES = 256
"""What the parent allows for the form of an answer, beyond `answer_bytes`."""
_TEXT = 4096
"""Characters of each text in a refusal that are used."""
_TRACE = 20_000
_OPEN_FILES = 256
_FIELDS = ("what", "got", "expected", "remedy")


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    `memory_bytes` count beyond the address space that the child has once its function is imported; 0 is no limit. CPU
    and wall clock seconds count for each request, and anew after each sign of progress where the caller listens to it.
    `file_bytes` limits each file it writes, `answer_bytes` the JSON and the raw bytes of an answer together.
    """

    memory_bytes: int = 4 << 30
    cpu_seconds: int = 30
    wall_seconds: float = 60
    file_bytes: int = 1 << 30
    answer_bytes: int = 64 << 20

    def __str__(self) -> str:
        return f"{self.memory_bytes >> 20} MiB of memory and {self.cpu_seconds} s of CPU time"


class Ended(UserError):
    """A child that gave no answer: it reached a limit, crashed, or answered in a wrong form. `trace` is for the log."""

    def __init__(self, what: str, *, expected: str | None = None, trace: str = "") -> None:
        super().__init__(what, expected=expected, remedy="Simplify the file, or check that it is not damaged")
        self.trace = trace


class MemoryExceeded(Ended):
    """A child that needed more memory than it may have."""


@dataclass(frozen=True)
class _Repr:
    """A value of the child of which only the `repr` is known."""

    text: str

    def __repr__(self) -> str:
        return self.text


class Sandbox:
    """A child process that answers requests to one function. Use one per thread; a pool is several of them.

    The child starts with the first request, and again after a request that ended it. `variables` are added to its
    environment, and `scratch` is where its temporary files go.
    """

    def __init__(
        self, target: str, limits: Limits, *, variables: Mapping[str, str] | None = None, scratch: Path | None = None
    ) -> None:
        self._target, self._limits = target, limits
        self._variables = {**(variables or {}), **({"TMPDIR": str(scratch)} if scratch else {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock, self._busy = threading.Lock(), threading.RLock()
        self._closed = False

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child; may be called from another thread, whose request then raises `Ended`."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
        with self._busy:
            if self._process is not None:
                end_child(self._process)

    def ask(self, request: dict[str, Any], *, name: str, progress: Progress | None = None) -> tuple[Any, bytes]:
        """Return what the function returns for `request`: a JSON value and bytes.

        `progress` is called about ten times a second; what it raises ends the child. Raises UserError as the function
        does, and Ended, with `name` for the thing that is read, where the child gave no answer.
        """
        with self._busy:
            process = self._started(name)
            try:
                answer, content = _Exchange(process, self._limits, name).run(request, progress)
            except BaseException:
                end_child(process)
                raise
        if "refused" in answer:
            raise _refusal(answer["refused"], name)
        if "memory" in answer:
            raise MemoryExceeded(f"{name} could not be read within {self._limits}")
        if "bug" in answer:
            trace = str(answer["bug"])[-_TRACE:]
            logging.getLogger(__name__).error("reading %s failed in %s:\n%s", name, self._target, trace)
            raise Ended(f"{name} could not be read", trace=trace)
        return answer["done"], content

    def _started(self, name: str) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise Ended(f"{name} is no longer read")
            if self._process is not None and self._process.poll() is None:
                return self._process
            if self._process is not None:
                end_child(self._process)
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, self._target],
                env={**environment(), **self._variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            assert self._process.stdin is not None
            self._process.stdin.write(_line(asdict(self._limits)))  # shorter than a pipe's buffer
            os.set_blocking(self._process.stdin.fileno(), False)
            return self._process


class _Exchange:
    """One request to a child and its answer, within the limits of bytes and of time by the clock."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits, name: str) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._limits, self._name = process, limits, name
        self._stdin, self._stdout = process.stdin.fileno(), process.stdout.fileno()
        self._buffer = bytearray()

    def run(self, request: dict[str, Any], progress: Progress | None) -> tuple[dict[str, Any], bytes]:
        unsent = memoryview(_line(request))
        latest, searched = ("opening the files", 0, 1), 0
        begun = shown = time.monotonic()
        answer: dict[str, Any] | None = None
        length = 0
        while True:
            unsent = self._exchange(unsent)
            now = time.monotonic()
            while answer is None and (end := self._buffer.find(b"\n", searched)) >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                searched = 0
                parsed = self._parsed(line)
                if "progress" not in parsed:
                    answer, length = parsed, self._length(parsed)
                elif progress is not None:
                    latest, begun = _step(parsed["progress"]) or latest, now
            if answer is not None and len(self._buffer) >= length:
                if len(self._buffer) > length or unsent:
                    raise self._wrong()
                return answer, bytes(self._buffer)
            searched = len(self._buffer) if answer is None else 0
            if len(self._buffer) > self._limits.answer_bytes + _HEADER_BYTES:
                raise self._wrong()
            if now - begun > self._limits.wall_seconds:
                raise Ended(f"{self._name} took longer than {self._limits.wall_seconds:g} s to read")
            if progress is not None and now - shown >= _TICK_SECONDS:
                shown = now
                progress(*latest)

    def _exchange(self, unsent: memoryview) -> memoryview:
        """Wait at most one tick, read what there is and return what of the request is still to be sent."""
        readable, writable, _ = select.select([self._stdout], [self._stdin] if unsent else [], [], _TICK_SECONDS)
        if readable:
            chunk = os.read(self._stdout, _CHUNK)
            if not chunk:
                raise Ended(f"{self._name} could not be read within {self._limits}")
            self._buffer += chunk
        if writable:
            try:
                unsent = unsent[os.write(self._stdin, unsent[:_CHUNK]) :]
            except BlockingIOError:
                pass  # the next tick tries again
            except BrokenPipeError as error:
                raise Ended(f"{self._name} could not be read within {self._limits}") from error
        return unsent

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._wrong() from error
        if not isinstance(parsed, dict) or not {"progress", "done", "refused", "memory", "bug"} & set(
            cast("dict[str, Any]", parsed)
        ):
            raise self._wrong()
        return cast("dict[str, Any]", parsed)

    def _length(self, answer: dict[str, Any]) -> int:
        length = answer.get("bytes", 0)
        if type(length) is not int or not 0 <= length <= self._limits.answer_bytes:
            raise self._wrong()
        return length

    def _wrong(self) -> Ended:
        return Ended(f"{self._name} could not be read: what its reader answered is too long or of a wrong form")


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def _step(value: Any) -> tuple[str, int, int] | None:
    try:
        what, done, total = value
        return str(what)[:200], int(done), int(total)
    except (TypeError, ValueError, OverflowError):
        return None


def _refusal(value: Any, name: str) -> UserError:
    fields: dict[str, Any] = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    texts = {key: str(fields[key])[:_TEXT] if fields.get(key) is not None else None for key in _FIELDS}
    got = texts["got"]
    return UserError(
        texts["what"] or f"{name} cannot be read",
        got=None if got is None else _Repr(got),
        expected=texts["expected"],
        remedy=texts["remedy"],
    )


# --- the child ---


def _imported(target: str) -> Function:
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


def _restrict(limits: Limits) -> None:
    """Limit this process, for good; a system that does not know a limit goes without it."""
    if limits.memory_bytes:
        limit_memory(_address_space() + limits.memory_bytes, limits.file_bytes)
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: neither traced by nor read from its siblings


def _address_space() -> int:
    if sys.platform != "linux":
        return 0
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _receive(requests: BinaryIO, received: queue.SimpleQueue[bytes]) -> None:
    """Hand on each request; end this process as soon as the parent is gone, which holds the pipe's other end."""
    while line := requests.readline():
        received.put(line)
    os._exit(3)


def _answer(function: Function, request: dict[str, Any], progress: Progress) -> tuple[bytes, bytes]:
    content = b""
    try:
        value, content = function(request, progress)
        return _line({"done": value, "bytes": len(content)}), content
    except UserError as error:
        got = None if error.got is None else repr(error.got)
        refused = {"what": error.what, "got": got, "expected": error.expected, "remedy": error.remedy}
        return _line({"refused": refused}), b""
    except MemoryError:
        return _line({"memory": True}), b""
    except Exception:
        return _line({"bug": traceback.format_exc()[-_TRACE:]}), b""


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    answers, requests = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)  # a parser that prints must not be taken for an answer
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    warnings.simplefilter("ignore")  # of decoders: what is wrong with a file is in the answer
    limits = Limits(**json.loads(requests.readline()))
    function = _imported(sys.argv[1])
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, received), daemon=True).start()
    _restrict(limits)
    shown = time.monotonic()

    def progress(what: str, done: int, total: int) -> None:
        nonlocal shown
        if time.monotonic() - shown > _TICK_SECONDS:
            shown = time.monotonic()
            limit_cpu(limits.cpu_seconds)
            answers.write(_line({"progress": (what, done, total)}))
            answers.flush()

    while True:
        request = json.loads(received.get())
        limit_cpu(limits.cpu_seconds)
        line, content = _answer(function, request, progress)
        answers.write(line)
        answers.write(content)
        answers.flush()


if __name__ == "__main__":
    main()
