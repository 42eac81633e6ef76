"""Files of strangers are read by a child with limits and without secrets, and come back as plain arrays.

The parent believes none of it: types, shapes, labels and sizes are looked at, and nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
from pydantic import TypeAdapter

from ..errors import UserError
from .child import SCRATCH
from .clouds import Clouds
from .config import DataConfig, DemoData, FewShotData, HubData, ScanObjectNNData
from .dataset import Dataset, Progress, Split
from .decoding import Decoder
from .images import Images
from .load import load, read
from .part_clouds import PartClouds
from .sandbox.protocol import Ended, Limits, MemoryExceeded, Sandbox
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
    memory = int(SHARE * psutil.virtual_memory().available)
    kept = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    limits = Limits(memory, CPU_SECONDS, SILENCE, file_bytes=memory)
    request = {"data": TypeAdapter[DataConfig](DataConfig).dump_python(config, mode="json"), "least": least}
    variables = {**kept, "TMPDIR": str(place.path / "tmp")}
    try:
        with Sandbox(f"{__name__}:answer", limits, variables=variables) as child:
            child.ask({**request, "folder": str(place.path)}, name=f"The data set {config.kind}", progress=progress)
    except MemoryExceeded as error:
        raise MemoryError from error
    except Ended as error:
        if error.trace:
            raise RuntimeError(f"Reading the data set failed:\n{error.trace}") from error
        raise UserError(
            error.what,
            expected=f"files that are read within {memory >> 20} MiB, and {CPU_SECONDS} s of CPU time each",
            remedy="`pointsmith inspect` and the Data tab look at each file by itself, and name the bad ones",
        ) from error
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


_READ: list[Parts] = []
"""What this child has read is kept, and with it what was unpacked: both are the parent's from now on."""


def answer(request: dict[str, Any], progress: Progress) -> tuple[None, bytes]:
    """Read one data set and leave it in the parent's folder, in the child."""
    config = TypeAdapter[DataConfig](DataConfig).validate_python(request["data"])
    _READ.append(read(config, int(request["least"]), progress))
    _leave(_READ[-1], Path(request["folder"]))
    return None, b""
