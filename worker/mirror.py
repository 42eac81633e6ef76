"""Keeping an attempt's files in the artefact store beside the training, so that another machine can go on with it.

A checkpoint is caught with hard links (files are only ever replaced, never changed, so a link is a snapshot), sent in a
thread of its own, and published once all events up to it are in Redis: whoever resumes from it leaves no gap in the
curve. Nothing here knows what a checkpoint looks like.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from .artefacts import ArtefactError, Artefacts, Manifest, Stored
from .run import read_json, write_json
from .timeline import events_file

_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between the tries of a transfer that matters; a mere checkpoint is just followed by the next."""
_OUTBOX = ".outbox"
_RECORDS = {"run.json", "attempt.json", "told.json", "lock"}
_Mark = tuple[str, int, int, int]

_log = logging.getLogger(__name__)


class Mirror:
    """The files of one attempt. Methods return at once; the work is done in one thread at a time."""

    def __init__(self, artefacts: Artefacts, run_id: str, token: int, folder: Path):
        self.artefacts, self.run_id, self.token, self.folder = artefacts, run_id, token, folder
        self.trouble: ArtefactError | None = None
        """Why the last transfer failed."""
        self._thread: threading.Thread | None = None
        self._sent: dict[_Mark, Stored] = {}
        self._shipped = 0
        self._gone = threading.Event()
        self._overtaken = threading.Event()
        self._cleaned = False

    # Before the training

    def restore(self, uploads: Mapping[str, Path]) -> None:
        """Begin to bring the newest published files here, unless this folder already holds the newest state.

        `uploads` (name -> folder) are data sets that the run learns from; they are brought here as well.
        """
        self._begin(lambda: self._patiently(lambda: self._restore(uploads)))

    def _restore(self, uploads: Mapping[str, Path]) -> None:
        for name, folder in uploads.items():
            self.artefacts.fetch_upload(name, folder, lambda: not self._gone.is_set())
        here = (read_json(self.folder / "attempt.json") or {}).get("token", 0)
        if here != self.token - 1:
            # Another machine has had the run since: what lies here was not told to the end or is out of date.
            _clear(self.folder)
            found = self.artefacts.newest(self.run_id)
            if found is not None:
                self.artefacts.fetch(self.run_id, found[1], self.folder, lambda: not self._gone.is_set())
                # Ours from now on: should an older attempt still publish, nobody resumes from that behind our back.
                self.artefacts.publish(self.run_id, self.token, found[1])
        if not self._gone.is_set():
            write_json(self.folder / "attempt.json", {"token": self.token})

    # During it

    def checkpoint(self) -> None:
        """Catch the checkpoint as it is now and begin to send it; nothing when the last one is still on its way."""
        if self.busy():
            return
        caught = _catch(self.folder, _state_files)
        if caught is None:
            return  # it was being replaced; the next turn tries again
        own = events_file(self.folder, self.token)
        needed = own.stat().st_size if own.exists() else 0
        self._begin(lambda: self._send(caught, needed))

    def shipped(self, offset: int) -> None:
        """Take note that this attempt's events are in Redis up to a byte of their file."""
        self._shipped = offset

    # After it

    def finish(self, succeeded: bool) -> None:
        """Begin to send everything that the run leaves: with a result the checkpoint is not needed any more.

        A checkpoint that is still on its way is overtaken: what follows holds it, and the events besides.
        """
        before = self._thread
        self._overtaken.set()

        def work() -> None:
            if before is not None:
                before.join()
            self._overtaken.clear()
            self._patiently(lambda: self._finish(succeeded))

        self._begin(work)

    def _finish(self, succeeded: bool) -> None:
        caught = _catch(self.folder, _result_files if succeeded else _all_files)
        if caught is None:
            raise ArtefactError("The run's files kept changing while they were sent", got=str(self.folder))
        self._send(caught, 0)

    def _patiently(self, work: Callable[[], None]) -> None:
        """Try again for a while: a store that is away for some seconds costs nothing but these."""
        for pause in _PAUSES:
            try:
                work()
                return
            except ArtefactError as error:
                _log.warning("Run %s: %s; trying again in %g s", self.run_id, error, pause)
                if self._gone.wait(pause):
                    raise
        work()

    def busy(self) -> bool:
        """Whether something is under way."""
        return self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """Stop as soon as possible: the run is not ours any more, or this process has to go."""
        self._gone.set()
        shutil.rmtree(self.folder / _OUTBOX, ignore_errors=True)

    # The thread

    def _begin(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except ArtefactError as error:
                self.trouble = error
                _log.warning("Run %s: %s", self.run_id, error)
            except OSError as error:
                self.trouble = ArtefactError(f"The run's files cannot be copied ({error})", got=str(self.folder))
                _log.warning("Run %s: %s", self.run_id, self.trouble)

        self.trouble = None
        self._thread = threading.Thread(target=guarded, name="mirror", daemon=True)
        self._thread.start()

    def _send(self, caught: dict[str, Path], needed: int) -> None:
        manifest: Manifest = {}
        marks: dict[_Mark, Stored] = {}
        for name, link in caught.items():
            if self._gone.is_set() or self._overtaken.is_set():
                return
            mark = _mark(name, link)
            stored = self._sent.get(mark)
            if stored is None:
                stored = self.artefacts.put_run_file(self.run_id, self.token, name, link)
                self._sent[mark] = stored
            manifest[name], marks[mark] = stored, stored
        while self._shipped < needed and not self._overtaken.is_set() and not self._gone.wait(0.05):
            pass
        if self._gone.is_set() or self._shipped < needed:
            return
        self.artefacts.publish(self.run_id, self.token, manifest)
        named = {stored.path for stored in marks.values()}
        dropped = {stored.path for stored in self._sent.values()} - named
        self._sent = marks
        if dropped or not self._cleaned:
            self.artefacts.forget(self.run_id, self.token, sorted(dropped))
            self._cleaned = True
        shutil.rmtree(self.folder / _OUTBOX, ignore_errors=True)


def _mark(name: str, path: Path) -> _Mark:
    found = path.stat()
    return name, found.st_ino, found.st_size, found.st_mtime_ns


def _state_files(name: str) -> bool:
    """What a resumed attempt needs: not the events (Redis has them) and not the log."""
    return not re.fullmatch(r"[^/]*\.(jsonl|txt)|error\.json", name)


def _all_files(name: str) -> bool:
    return True


def _result_files(name: str) -> bool:
    return not name.startswith("checkpoint")


def _catch(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Path] | None:
    """Links to the wanted files, all of one moment; None when something changed meanwhile."""
    outbox = folder / _OUTBOX
    shutil.rmtree(outbox, ignore_errors=True)
    before = _files(folder, wanted)
    caught: dict[str, Path] = {}
    try:
        for name in before:
            caught[name] = outbox / name
            caught[name].parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                os.link(folder / name, caught[name])
            except FileNotFoundError:
                return None
            except OSError:  # a file system without hard links
                shutil.copy2(folder / name, caught[name])
    except FileNotFoundError:
        return None
    return caught if _files(folder, wanted) == before else None


def _files(folder: Path, wanted: Callable[[str], bool]) -> dict[str, _Mark]:
    found: dict[str, _Mark] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in _RECORDS or any(part.startswith(".") for part in Path(name).parts) or not wanted(name):
            continue
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[name] = _mark(name, path)
    return found


def _clear(folder: Path) -> None:
    """Remove what belongs to attempts that do not count any more; the lock, the record and the log stay."""
    for path in folder.iterdir():
        if path.name in _RECORDS or path.name == "log.txt":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
