"""Files of strangers are read by a child with limits and without secrets, and come back as plain arrays.

Run as a module, `python -m pointsmith.core.data.apart`, this is the child: it reads the data set that the first line of
its standard input describes, tells on its output how far it is, and leaves arrays and a description in a folder of its
parent's. The parent believes none of it: types, shapes, labels and sizes are looked at, and nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
from pydantic import TypeAdapter

from ..errors import UserError
from .child import SCRATCH, end_child, environment, limit_cpu, limit_memory
from .clouds import Clouds
from .config import DataConfig, DemoData, FewShotData, HubData, ScanObjectNNData
from .dataset import Dataset, Progress, Split
from .decoding import Decoder
from .images import Images
from .load import load, read
from .part_clouds import PartClouds
from .split import Parts

SHARE = 0.9
"""Of the memory that is free when reading begins, how much it may take."""
CPU_SECONDS = 600
"""CPU time that may pass between two signs of progress."""
SILENCE = 1800.0
"""Seconds by the clock between two signs of progress."""
_PASSED_ON = ("HOME", "XDG_CACHE_HOME", "POINTSMITH_CACHE")
_LINE = 1 << 16
_DESCRIPTION = "read.json"
_MOST_TEXT = 4096
"""Characters of a name or a note."""


def load_apart(
    config: DataConfig, *, least: int = 1, progress: Progress | None = None, pooled_test: bool = False
) -> Dataset:
    """Return what `load` does, of files read in a child. What `progress` raises ends the child at once.

    The generator's shapes are made here: they are no files. So are sets of the Hub read: their download needs the
    token that the child must not have, and they come as columns of numbers.
    """
    reader = read if _needs_no_child(config) else read_apart
    return load(config, least=least, progress=progress, pooled_test=pooled_test, reader=reader)


def _needs_no_child(config: DataConfig) -> bool:
    if isinstance(config, FewShotData) and config.base:
        return _needs_no_child(config.base_data())
    if isinstance(config, HubData):
        return not (config.repository.startswith(("/", ".", "~")) or Path(config.repository).exists())
    if isinstance(config, ScanObjectNNData):
        return config.source == "hub" and config.path is None
    return isinstance(config, DemoData)


def read_apart(config: DataConfig, least: int = 1, progress: Progress | None = None) -> Parts:
    """Return what `read` does, read in a child. UserError as from there, and where a limit was its end."""
    place = _Place(tempfile.mkdtemp(prefix="pointsmith-read-", dir=os.environ.get(SCRATCH) or None))
    try:
        return _read_into(place, config, least, progress)
    except BaseException:
        place.close()  # and not when the error is forgotten
        raise


def _read_into(place: _Place, config: DataConfig, least: int, progress: Progress | None) -> Parts:
    with _running(place.path) as child:
        memory = int(SHARE * psutil.virtual_memory().available)
        told = {"data": TypeAdapter[DataConfig](DataConfig).dump_python(config, mode="json")}
        child.say({**told, "least": least, "memory": memory})
        answer = child.listen(progress)
    if "refused" in answer:
        raise _refusal(answer["refused"])
    if "bug" in answer:
        raise RuntimeError(f"Reading the data set failed:\n{str(answer['bug'])[:20_000]}")
    if "memory" in answer:
        raise MemoryError
    if "done" not in answer:
        raise UserError(
            f"The data set {config.kind} could not be read: its reader {answer['ended']}",
            expected=f"files that are read within {memory >> 20} MiB, and {CPU_SECONDS} s of CPU time each",
            remedy="`pointsmith inspect` and the Data tab look at each file by itself, and name the bad ones",
        )
    return _Received(place, config).parts()


class _Place:
    """A folder that is there as long as somebody needs what lies in it, and what decodes the images there."""

    def __init__(self, path: str) -> None:
        self.path, self.decoder = Path(path), Decoder()
        (self.path / "tmp").mkdir()

    def close(self) -> None:
        self.decoder.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def __del__(self) -> None:
        self.close()


@contextmanager
def _running(place: Path) -> Generator[_Reader, None, None]:
    kept = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, str(place)],
        env={**environment(), **kept, "TMPDIR": str(place / "tmp")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    reader = _Reader(process)
    try:
        yield reader
    finally:
        reader.end()


class _Reader:
    """The child as its parent sees it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._ear = threading.Thread(target=self._hear, name="reader", daemon=True)
        self._ear.start()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(_LINE):
            if self._lines.qsize() < 1000:  # a child that floods us is not listened to
                self._lines.put(line)
        self._lines.put(b"")

    def say(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:  # it is gone already; listening finds out why
            pass

    def listen(self, progress: Progress | None) -> dict[str, Any]:
        """Return the child's last word, {"ended": why} where it had none; `progress` is called ten times a second."""
        latest, heard = ("opening the files", 0, 1), time.monotonic()
        while True:
            try:
                line = self._lines.get(timeout=0.1)
            except queue.Empty:
                line = None
            if line == b"":
                return {"ended": _reason(self._process.wait())}
            if line is not None:
                heard = time.monotonic()
                answer = _parsed(line)
                if "progress" not in answer:
                    return answer
                latest = _step(answer["progress"]) or latest
            if progress is not None:
                progress(*latest)
            if time.monotonic() - heard > SILENCE:
                return {"ended": f"said nothing for {SILENCE / 60:.0f} minutes"}

    def end(self) -> None:
        end_child(self._process)
        self._ear.join()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {"ended": "said something that is no answer"}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {"ended": "said something that is no answer"}


def _step(told: Any) -> tuple[str, int, int] | None:
    try:
        what, done, total = told
        return str(what)[:200], int(done), int(total)
    except (TypeError, ValueError, OverflowError):
        return None


def _reason(code: int) -> str:
    if code in (-9, -24):  # SIGKILL, by the system for want of memory; SIGXCPU
        return "was ended by the system for what it took of memory or CPU time"
    return f"crashed (code {code})"


@dataclass(frozen=True)
class _Shown:
    """A value that is known by its `repr` alone."""

    text: str

    def __repr__(self) -> str:
        return self.text


def _refusal(told: Any) -> UserError:
    said: dict[str, Any] = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    texts = {key: str(said[key])[:_MOST_TEXT] if said.get(key) is not None else None for key in _SAID}
    got = texts.pop("got")
    return UserError(
        texts["what"] or "The data set cannot be read",
        got=None if got is None else _Shown(got),
        expected=texts["expected"],
        remedy=texts["remedy"],
    )


_SAID = ("what", "got", "expected", "remedy")


class _Received:
    """What a child left, looked at piece by piece. UserError for what is not as it must be."""

    def __init__(self, place: _Place, config: DataConfig) -> None:
        self.place, self.config = place, config
        found = json.loads(self._file(_DESCRIPTION).read_bytes())
        self.told: dict[str, Any] = cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    def parts(self) -> Parts:
        classes = self._texts(self.told.get("classes"))
        names = self.told.get("part_names")
        part_names = tuple(self._texts(one) for one in cast("list[Any]", names)) if isinstance(names, list) else ()
        splits = {name: self._split(name, classes, part_names) for name in ("train", "validation", "test")}
        train = splits["train"]
        if train is None or len(classes) < 1:
            raise self._wrong("a training part and classes")
        return Parts(
            train,
            splits["validation"],
            splits["test"],
            classes,
            self._texts(self.told.get("notes")),
            part_names,
            self.told.get("complete") is not False,
        )

    def _split(self, name: str, classes: tuple[str, ...], part_names: tuple[tuple[str, ...], ...]) -> Split | None:
        each = self.told.get("splits")
        told = cast("dict[str, Any]", each).get(name) if isinstance(each, dict) else None
        if not isinstance(told, dict):
            return None
        told = cast("dict[str, Any]", told)
        names = self._texts(told.get("names"))
        labels = self._array(f"{name}-labels", np.int64, (len(names),))
        if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= len(classes)):
            raise self._wrong("labels of its classes")
        if told.get("kind") == "images":
            return self._images(name, told, names, labels)
        points = self._array(f"{name}-points", np.float32, (len(names), None, 3))
        if told.get("kind") != "parts":
            return Clouds(points, labels, names)
        parts = self._array(f"{name}-parts", np.uint16, points.shape[:2])
        if parts.size and int(parts.max()) >= sum(map(len, part_names)):
            raise self._wrong("parts that have a name")
        return PartClouds(points, labels, names, parts=parts)

    def _images(self, name: str, told: dict[str, Any], names: tuple[str, ...], labels: np.ndarray) -> Images:
        preparation: Any = self.config.preparation
        files = tuple(Path(one) for one in self._texts(told.get("files")))
        hashes = tuple(bytes.fromhex(one) for one in self._texts(told.get("hashes")))
        if not len(files) == len(hashes) == len(names):
            raise self._wrong("a file and a hash for each image")
        size = preparation.size
        kept = told.get("resident") is True
        pixels = self._array(f"{name}-pixels", np.uint8, (len(names), size, size, 3)) if kept else None
        return Images(files, labels, names, hashes, preparation, pixels, self.place, self.place.decoder)

    def _texts(self, told: Any) -> tuple[str, ...]:
        if not isinstance(told, list):
            raise self._wrong("a list of names")
        return tuple(str(one)[:_MOST_TEXT] for one in cast("list[object]", told))

    def _array(self, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> np.ndarray:
        path = self._file(f"{name}.npy")
        try:
            found: np.ndarray = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise self._wrong("whole arrays") from error
        fits = found.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, found.shape))
        if found.dtype != np.dtype(dtype) or not fits:
            raise self._wrong(f"{name} of {np.dtype(dtype)}, shape {shape}")
        return np.ascontiguousarray(found)

    def _file(self, name: str) -> Path:
        path = self.place.path / name
        if not stat.S_ISREG(os.lstat(path).st_mode if path.exists() else 0):  # no link, no pipe
            raise self._wrong(name)
        return path

    def _wrong(self, expected: str) -> UserError:
        return UserError(
            "The child that reads data sets gave back what does not fit",
            expected=expected,
            remedy="Check where the files are from: one of them may be made to harm",
        )


# --- the child ---


def _leave(parts: Parts, place: Path) -> None:
    """Write what was read into the parent's folder; clouds with all their points, whatever order they came in."""
    told: dict[str, Any] = {
        "classes": parts.classes,
        "notes": parts.notes,
        "part_names": parts.part_names,
        "complete": parts.complete,
        "splits": {},
    }
    for name, split in (("train", parts.train), ("validation", parts.validation), ("test", parts.test)):
        if split is None:
            continue
        described: dict[str, Any] = {"kind": "clouds", "names": split.names}
        arrays: dict[str, np.ndarray] = {"labels": split.labels.astype(np.int64, copy=False)}
        if isinstance(split, Images):
            described |= {"kind": "images", "resident": split.pixels is not None}
            described |= {"files": [str(file.absolute()) for file in split.files]}
            described |= {"hashes": [one.hex() for one in split.hashes]}
            if split.pixels is not None:
                arrays["pixels"] = split.pixels
        elif isinstance(split, Clouds):
            arrays["points"] = split.points.astype(np.float32, copy=False)
            if isinstance(split, PartClouds):
                described["kind"], arrays["parts"] = "parts", split.parts
        told["splits"][name] = described
        for key, values in arrays.items():
            np.save(place / f"{name}-{key}.npy", values, allow_pickle=False)
    (place / _DESCRIPTION).write_text(json.dumps(told), encoding="ascii")


def _end_with_parent() -> None:
    """Leave as soon as the parent is gone: it holds the other end of our standard input."""
    while os.read(0, 4096):
        pass
    os._exit(3)


def main() -> None:
    """Read one data set and tell; ends without tidying up: what was unpacked is the parent's from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # a parser that prints must not be taken for an answer
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    memory = psutil.Process().memory_info().vms + int(asked["memory"])
    limit_memory(memory, output_bytes=memory)
    limit_cpu(CPU_SECONDS)

    def say(**what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    told = time.monotonic()

    def progress(what: str, done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > 0.1:
            told = time.monotonic()
            limit_cpu(CPU_SECONDS)
            say(progress=(what, done, total))

    place = Path(sys.argv[1])
    try:
        config = TypeAdapter[DataConfig](DataConfig).validate_python(asked["data"])
        parts = read(config, int(asked["least"]), progress)  # kept to the end, and with it what was unpacked
        _leave(parts, place)
        say(done=True)
    except UserError as error:
        got = None if error.got is None else repr(error.got)
        say(refused={"what": error.what, "got": got, "expected": error.expected, "remedy": error.remedy})
    except MemoryError:
        say(memory=True)
    except Exception:
        say(bug=traceback.format_exc()[-10_000:])
    os._exit(0)


if __name__ == "__main__":
    main()
