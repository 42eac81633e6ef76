"""Pulling an adapter by its id: at one commit, of known files and sizes, checked before anything loads it, and kept.

A pulled adapter lies in `<cache>/adapters/<owner>--<name>/<commit>`; beside it `refs.json` remembers which commit a
branch was last seen at, so that it loads without a network afterwards.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from huggingface_hub import hf_hub_url
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers  # pyright: ignore[reportUnknownVariableType]

from ..adapter_gate import check_adapter, checked_copy
from ..adapters import (
    CONFIG_BYTES,
    CONFIG_NAME,
    WEIGHTS_NAME,
    Adapter,
    AdapterConfig,
    load_adapter,
    read_adapter_config,
)
from ..errors import UserError
from ..models.download import Progress, Remote, Report, Unfetched, download, file_sha256
from ..models.weight_files import cache_dir
from ..schema import is_mapping
from .client import FAILURES, Hub, explain_failure, root, transient
from .place import HubId, hub_id, named_on_hub

TEXT_LIMIT = 4 << 20
WEIGHTS_LIMIT = 2 << 30
"""Bytes of the largest file that is fetched."""
TIMEOUT_SECONDS = 20.0
_NEEDED = {CONFIG_NAME: CONFIG_BYTES, WEIGHTS_NAME: WEIGHTS_LIMIT}
_WELCOME = {"README.md": TEXT_LIMIT, "config.json": TEXT_LIMIT}
_NOTE = "pulled.json"


@dataclass(frozen=True)
class Pulled:
    """An adapter from the Hub, on this disk: `id` names the commit, `asked` is what was asked for."""

    id: HubId
    asked: HubId
    folder: Path
    offline: bool = False
    """The Hub could not be asked, and this is what it had when it last could."""


@dataclass(frozen=True)
class _File:
    """A file of a commit, as the Hub tells of it."""

    name: str
    size: int
    sha256: str | None
    git: str | None


def silent(progress: Progress) -> None:
    """The default of `report`: nobody listens."""


def shelf_dir() -> Path:
    """Return where pulled adapters are kept."""
    return cache_dir() / "adapters"


def find_adapter(text: str | Path, *, hub: Hub = Hub(), shelf: Path | None = None, report: Report = silent) -> Path:
    """Return the folder of an adapter that is named by its folder or by its id on the Hub, pulled if need be."""
    named = named_on_hub(text)
    return Path(text).expanduser() if named is None else pull(named, hub=hub, shelf=shelf, report=report).folder


def open_adapter(
    text: str | Path, *, backbone_weights: str | None = None, report: Report = silent, untrusted: bool = False
) -> Adapter:
    """Load an adapter that is named by its folder or by its id on the Hub.

    What was pulled, now or earlier, or is `untrusted` goes through `adapter_gate`.
    """
    folder = find_adapter(text, report=report)
    note = folder / _NOTE
    if not untrusted and not note.is_file():
        return load_adapter(folder, backbone_weights=backbone_weights)
    name = str(_read(note).get("name") or folder.name)[:200]
    with checked_copy(folder, name, backbone_given=backbone_weights is not None) as copy:
        return load_adapter(copy, backbone_weights=backbone_weights)


def pull(asked: HubId, *, hub: Hub = Hub(), shelf: Path | None = None, report: Report = silent) -> Pulled:
    """Return the adapter, from this disk if its commit is here. UserError says what is wrong with it, or in the way."""
    place = (shelf or shelf_dir()) / asked.name.replace("/", "--")
    if asked.pinned and _intact(place / asked.revision):
        return Pulled(asked, asked, place / asked.revision)
    try:
        info = hub.api.model_info(asked.name, revision=asked.revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
    except FAILURES as error:
        known = _remembered(place, asked.revision)
        if known and (transient(error) or isinstance(root(error), OfflineModeIsEnabled)):
            return Pulled(HubId(asked.name, known), asked, place / known, offline=True)
        raise explain_failure(error, f"looking for {asked} on the Hub", asked.name) from error
    commit = str(info.sha)
    files = _wanted(asked, info.siblings or [])
    folder = place / commit
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            if not _intact(folder):
                _fetch(hub, HubId(asked.name, commit), files, folder, report)
            _remember(place, asked.revision, commit)
    except OSError as error:
        raise UserError(f"{place} cannot be written ({error.strerror or error})") from error
    return Pulled(HubId(asked.name, commit), asked, folder)


def _wanted(asked: HubId, siblings: list[Any]) -> list[_File]:
    """Return the files to fetch. UserError where the repository holds no adapter of ours, or a file is too large."""
    there = {str(one.rfilename): one for one in siblings}
    missing = [name for name in _NEEDED if name not in there]
    if missing:
        pickled = [name for name in there if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl"))]
        raise UserError(
            f"{asked} holds no adapter of Pointsmith: {missing[0]} is missing",
            got=f"{pickled[0]}, which is not read: it may run code" if pickled else None,
            expected=f"{CONFIG_NAME} and {WEIGHTS_NAME}",
        )
    found: list[_File] = []
    for name, limit in {**_NEEDED, **_WELCOME}.items():
        if name not in there:
            continue
        one = there[name]
        size, large = int(one.size or 0), one.lfs
        if size > limit:
            raise UserError(f"{name} of {asked} is too large", got=f"{size:,} bytes", expected=f"at most {limit:,}")
        sha256 = str(large.sha256) if large else None
        found.append(_File(name, size, sha256, None if large else str(one.blob_id or "") or None))
    return found


def _fetch(hub: Hub, pinned: HubId, files: list[_File], folder: Path, report: Report) -> None:
    """Download into a draft, check it, and only then give it its name; what broke off is resumed by the next call."""
    draft = folder.with_name(f".{folder.name}")
    draft.mkdir(exist_ok=True)
    hashes: dict[str, str] = {}
    for file in files:
        url = hf_hub_url(pinned.name, file.name, revision=pinned.revision, endpoint=hub.api.endpoint)
        headers = build_hf_headers(token=hub.token)
        identity = file.sha256 or file.git
        remote = Remote(url, headers, identity=identity, size=file.size, sha256=file.sha256)
        try:
            hashes[file.name] = download(remote, draft / file.name, _capped(report, file))
        except Unfetched as reason:
            raise UserError(
                f"{file.name} of {pinned.name} could not be fetched ({reason})", remedy="Check the network, try again"
            ) from reason
        if file.git and _git_hash(draft / file.name) != file.git:
            (draft / file.name).unlink()
            raise UserError(f"{file.name} of {pinned.name} did not arrive as it is on the Hub", remedy="Try again")
    try:
        check_adapter(draft, pinned.name)
    except UserError:
        shutil.rmtree(draft)
        raise
    note = {"name": pinned.name, "revision": pinned.revision, "files": hashes, "at": time.time()}
    (draft / _NOTE).write_text(json.dumps(note), encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    draft.rename(folder)


def _capped(report: Report, file: _File) -> Report:
    def tell(progress: Progress) -> None:
        if progress.done_bytes > file.size:
            raise Unfetched(f"the server sends more than the {file.size:,} bytes that it announced")
        report(progress)

    return tell


def _git_hash(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _intact(folder: Path) -> bool:
    """Whether the files of a pulled adapter are those that came."""
    note = _note(folder)
    hashes = note.get("files")
    if not is_mapping(hashes) or not hashes:
        return False
    return all((folder / name).is_file() and file_sha256(folder / name) == known for name, known in hashes.items())


def _note(folder: Path) -> Mapping[str, Any]:
    return _read(folder / _NOTE)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if is_mapping(content) else {}


def _remembered(place: Path, revision: str) -> str | None:
    """Return the commit that a revision was last seen at, if it is here whole."""
    commit = _read(place / "refs.json").get(revision)
    return commit if isinstance(commit, str) and commit.isalnum() and _intact(place / commit) else None


def _remember(place: Path, revision: str, commit: str) -> None:
    refs = {**_read(place / "refs.json"), revision: commit}
    draft = place / ".refs.json"
    draft.write_text(json.dumps(refs), encoding="utf-8")
    draft.replace(place / "refs.json")


@dataclass(frozen=True)
class Kept:
    """A pulled adapter on this disk; `at` is when it came, in seconds since 1970."""

    id: HubId
    folder: Path
    config: AdapterConfig
    at: float

    @property
    def score(self) -> float | None:
        """Its test score as its maker told it."""
        value = self.config.metrics.get("test_accuracy")
        return None if value is None else float(value)


@dataclass(frozen=True)
class Unreadable:
    """A pulled adapter on this disk that cannot be read, and why."""

    folder: Path
    reason: str

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name.replace('--', '/')}@{self.folder.name}"


def unreadable(shelf: Path | None = None) -> list[Unreadable]:
    """Return the pulled adapters that are here and cannot be read."""
    damaged: list[Unreadable] = []
    for path in (shelf or shelf_dir()).glob(f"*--*/*/{_NOTE}"):
        try:
            _read_kept(path)
        except UserError as error:
            damaged.append(Unreadable(path.parent, str(error)))
    return sorted(damaged, key=lambda entry: entry.name)


def remove_unreadable(name: str, shelf: Path | None = None) -> None:
    """Delete a pulled adapter that cannot be read. UserError where there is none of this name."""
    for entry in unreadable(shelf):
        if entry.name == name:
            shutil.rmtree(entry.folder)
            return
    raise UserError("There is no unreadable adapter of this name", got=name[:200])


def kept(shelf: Path | None = None) -> list[Kept]:
    """Return the pulled adapters that can be read, newest first; see `unreadable` for the others."""
    found: list[Kept] = []
    for path in (shelf or shelf_dir()).glob(f"*--*/*/{_NOTE}"):
        try:
            found.append(_read_kept(path))
        except UserError:
            continue  # `unreadable` says why
    return sorted(found, key=lambda one: one.at, reverse=True)


def _read_kept(path: Path) -> Kept:
    """Return the pulled adapter of a note; UserError where it or its note cannot be read."""
    note = _read(path)
    named, at = hub_id(f"{note.get('name')}@{note.get('revision')}"), note.get("at")
    if named is None or not isinstance(at, (int, float)):
        raise UserError("The note of this adapter is damaged", remedy="Remove the adapter and pull it again")
    return Kept(named, path.parent, read_adapter_config(path.parent, named.name), float(at))
