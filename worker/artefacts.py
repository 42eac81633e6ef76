"""The artefact store: a folder or a bucket that every machine reaches, where runs leave what others must find.

`POINTSMITH_ARTEFACTS` names it: a shared folder or any address that fsspec understands (`s3://…`, `hf://…`). Layout:
`runs/<id>/<token>/…` holds what attempt `token` wrote, `runs/<id>/manifest-<token>.json` says which of it belongs
together; `uploads/<name>/…` and `uploads/<name>.json` likewise. A manifest is written last, so what it names is whole,
and the highest token wins, so an attempt that was superseded cannot undo its successor's work.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.errors import UserError
from .connection import without_credentials

VARIABLE = "POINTSMITH_ARTEFACTS"
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "oss", "hf"}


class ArtefactError(UserError):
    """The artefact store does not do what was asked: what was asked may be asked again."""


@dataclass(frozen=True)
class Stored:
    """One file in the store: where it lies below the run's or upload's place, its size and SHA-256."""

    path: str
    size: int
    sha256: str


Manifest = dict[str, Stored]
"""Relative path in the run's folder -> where it is stored."""


class Artefacts:
    """One store. Methods raise ArtefactError when it cannot be reached or does not hold what it should."""

    def __init__(self, url: str):
        self.url = url
        self.shown = without_credentials(url)
        with self._doing("opened"):
            import fsspec

            self._files: Any
            self._files, root = fsspec.core.url_to_fs(url)
            self._root = str(root).rstrip("/")

    @classmethod
    def from_environment(cls) -> Artefacts | None:
        """The store that POINTSMITH_ARTEFACTS names; None when it is not set."""
        url = os.environ.get(VARIABLE, "").strip()
        return cls(url if "://" in url else str(Path(url).expanduser().absolute())) if url else None

    def check(self) -> str:
        """Write, read back and delete a small file; return the store's identity, made when it is new."""
        probe, content = f".probe-{secrets.token_hex(8)}", secrets.token_bytes(64)
        try:
            self._write(probe, content)
            with self._doing("read"):
                back = self._files.cat_file(self._at(probe))
            if back != content:
                raise ArtefactError("The artefact store gives back something else than was written", got=self.shown)
        finally:
            with contextlib.suppress(ArtefactError):
                self._remove(probe)
        return self._identity()

    def _identity(self) -> str:
        known = self._read_json("pointsmith.json")
        if known is None:
            self._write("pointsmith.json", json.dumps({"id": secrets.token_hex(12)}).encode())
            known = self._read_json("pointsmith.json")  # of two that wrote at once, the last one counts for both
        if known is None:
            raise ArtefactError("The artefact store forgets what is written", got=self.shown)
        return str(known["id"])

    # Runs

    def put_run_file(self, run_id: str, token: int, relative: str, source: Path) -> Stored:
        """Store one file of an attempt."""
        return self._put(f"runs/{run_id}", f"{token}/{relative}", source)

    def publish(self, run_id: str, token: int, manifest: Manifest) -> None:
        """Say that these files belong together; from now on they are what the next attempt finds."""
        content = {"token": token, "files": {name: asdict(stored) for name, stored in manifest.items()}}
        self._write(f"runs/{run_id}/manifest-{token}.json", json.dumps(content).encode())

    def newest(self, run_id: str) -> tuple[int, Manifest] | None:
        """The manifest of the last attempt that published one, and its token."""
        for token in sorted(self._manifests(run_id), reverse=True):
            found = _manifest(self._read_json(f"runs/{run_id}/manifest-{token}.json"))
            if found is not None:
                return token, found
        return None

    def fetch(self, run_id: str, manifest: Manifest, folder: Path, keep: Callable[[], bool] = lambda: True) -> None:
        """Write the files of a manifest into a run's folder, each whole or not at all; stop when `keep` says no."""
        for name, stored in manifest.items():
            if not keep():
                return
            self._get(f"runs/{run_id}/{stored.path}", stored, folder / name)

    def forget(self, run_id: str, token: int, paths: list[str]) -> None:
        """Remove what attempt `token` stored but does not name any more, and everything of attempts before it.

        Nothing when a later attempt has published: it may still name files of this one.
        """
        if max(self._manifests(run_id), default=token) > token:
            return
        for path in paths:
            with contextlib.suppress(ArtefactError):
                self._remove(f"runs/{run_id}/{path}")
        for old in self._manifests(run_id):
            if old < token:
                with contextlib.suppress(ArtefactError):
                    self._remove(f"runs/{run_id}/manifest-{old}.json")
                with contextlib.suppress(ArtefactError):
                    self._remove(f"runs/{run_id}/{old}")

    def delete_run(self, run_id: str) -> None:
        """Remove everything of a run."""
        with self._doing("cleaned"):
            if self._files.exists(self._at(f"runs/{run_id}")):
                self._files.rm(self._at(f"runs/{run_id}"), recursive=True)

    def put_story(self, run_id: str, files: Mapping[str, Path]) -> None:
        """Store the event files of an ended run; token 0 is for them, since no attempt has it."""
        self.publish(run_id, 0, {name: self.put_run_file(run_id, 0, name, path) for name, path in files.items()})

    def story(self, run_id: str) -> Manifest | None:
        """The event files of an ended run, once its stream was compacted."""
        return _manifest(self._read_json(f"runs/{run_id}/manifest-0.json"))

    # Uploads

    def put_upload(self, name: str, folder: Path) -> None:
        """Store an uploaded data set (once)."""
        if self._read_json(f"uploads/{name}.json") is not None:
            return
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        stored = {
            path.relative_to(folder).as_posix(): self._put(
                "uploads", f"{name}/{path.relative_to(folder).as_posix()}", path
            )
            for path in files
        }
        content = {"files": {relative: asdict(one) for relative, one in stored.items()}}
        self._write(f"uploads/{name}.json", json.dumps(content).encode())

    def fetch_upload(self, name: str, folder: Path, keep: Callable[[], bool] = lambda: True) -> None:
        """Bring an uploaded data set here; files that are here already stay."""
        manifest = _manifest(self._read_json(f"uploads/{name}.json"))
        if manifest is None:
            raise ArtefactError(
                "The uploaded data set is not in the artefact store", got=name, remedy="Upload it again under Train"
            )
        for relative, stored in manifest.items():
            if not keep():
                return
            target = folder / relative
            if not (target.is_file() and target.stat().st_size == stored.size):
                self._get(f"uploads/{stored.path}", stored, target)

    # Plumbing

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _put(self, place: str, path: str, source: Path) -> Stored:
        content = hashlib.sha256()
        with source.open("rb") as file:
            while block := file.read(1 << 20):
                content.update(block)
        with self._doing("written"):
            target = self._at(f"{place}/{path}")
            self._make_place(target)
            self._files.put_file(str(source), target)
        return Stored(path, source.stat().st_size, content.hexdigest())

    def _get(self, path: str, stored: Stored, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with self._doing("read"):
                self._files.get_file(self._at(path), str(draft))
            with draft.open("rb") as file:
                content = hashlib.sha256()
                while block := file.read(1 << 20):
                    content.update(block)
            if content.hexdigest() != stored.sha256:
                raise ArtefactError("A file in the artefact store is damaged", got=f"{self.shown}/{path}")
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)

    def _write(self, path: str, content: bytes) -> None:
        with self._doing("written"):
            target = self._at(path)
            self._make_place(target)
            self._files.pipe_file(target, content)

    def _make_place(self, target: str) -> None:
        # In an object store a folder is only a part of a name, and making one would make a mistyped bucket.
        kinds = self._files.protocol
        if not _OBJECT_STORES.intersection((kinds,) if isinstance(kinds, str) else kinds):
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)

    def _read_json(self, path: str) -> dict[str, Any] | None:
        with self._doing("read"):
            try:
                value = json.loads(self._files.cat_file(self._at(path)))
            except (FileNotFoundError, ValueError):
                return None
        return value if isinstance(value, dict) else None

    def _manifests(self, run_id: str) -> list[int]:
        with self._doing("listed"):
            self._files.invalidate_cache()
            try:
                names = self._files.ls(self._at(f"runs/{run_id}"), detail=False)
            except FileNotFoundError:
                return []
        found = (re.fullmatch(r"manifest-(\d+)\.json", PurePosixPath(str(name)).name) for name in names)
        return [int(match[1]) for match in found if match]

    def _remove(self, path: str) -> None:
        with self._doing("cleaned"), contextlib.suppress(FileNotFoundError):
            self._files.rm(self._at(path), recursive=True)

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        """Turn what a file system raises (each its own kinds) into one sentence."""
        try:
            yield
        except UserError:
            raise
        except ImportError as error:
            raise ArtefactError(
                "This kind of artefact store needs a package that is not installed",
                got=self.shown,
                remedy=f"Install it ({error})",
            ) from error
        except Exception as error:
            detail = str(error).splitlines()[0] if str(error) else ""
            raise ArtefactError(
                f"The artefact store cannot be {what} ({type(error).__name__}: {detail[:200]})",
                got=self.shown,
                expected="a folder or an address (file://, s3://, hf://, …) that this machine may read and write",
                remedy=f"Correct {VARIABLE} or the rights and credentials on this machine",
            ) from error


def _manifest(content: Mapping[str, Any] | None) -> Manifest | None:
    """What a manifest's file says; None when it is damaged or names something outside its own place."""
    if content is None:
        return None
    try:
        found = {str(name): Stored(**value) for name, value in content["files"].items()}
    except (AttributeError, KeyError, TypeError):
        return None
    names = [name for relative, stored in found.items() for name in (relative, stored.path)]
    return found if all(_inside(name) for name in names) else None


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and name != ""
