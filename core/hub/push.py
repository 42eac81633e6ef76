"""Pushing an adapter: its files and its card in one commit on the parent that was looked at, or nothing."""

from __future__ import annotations

import io
import json
import logging
import secrets
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from ..adapters import CONFIG_NAME, WEIGHTS_NAME, AdapterConfig, read_adapter_config, small_config
from ..config import RunConfig
from ..errors import UserError
from ..models.files import read_tensors
from .card import PICTURES, make_card
from .client import FAILURES, LIBRARY, Hub, explain_failure, explained, transient
from .history import History, read_history
from .place import HubId, require_hub_id

Kind = Literal["model", "space"]
Told = Callable[[str, float], None]
"""Called with what is being done, and how much of the whole is done, 0..1."""
Files = dict[str, "bytes | Path"]
"""A repository's files by their paths in it."""

TRIES = 3
PAUSE_SECONDS = 1.0
STANDARD_WEIGHTS = ("pretrained", "random", "included")
_ASIDE = {".gitattributes", "README.md", "LICENSE"}


@dataclass(frozen=True)
class Pushed:
    """What was published where: `revision` is the commit that holds all of it."""

    name: str
    revision: str
    url: str
    private: bool
    created: bool


def untold(what: str, share: float) -> None:
    """The default of `told`: nobody listens."""


def push(
    folder: Path,
    name: str,
    *,
    hub: Hub = Hub(),
    private: bool | None = None,
    history: History | None = None,
    command: Callable[[RunConfig], str] = lambda _: "",
    licence: str = "",
    told: Told = untold,
) -> Pushed:
    """Publish the adapter in `folder` as `owner/name`.

    `private` None keeps what a repository is, and makes a new one public. `history` None reads the events beside the
    folder. UserError says why not; then nothing of this adapter is in the repository.
    """
    target = require_hub_id(name, "A repository")
    if target.revision != "main":
        raise UserError("An adapter is pushed to the main branch", got=name, remedy="Leave out what is behind the @")
    told("Reading the adapter", 0.0)
    config = publishable(read_adapter_config(folder))
    _check_weights(folder / WEIGHTS_NAME)
    history = read_history(folder.absolute().parent) if history is None else history
    card = make_card(config, history, target.name, command=command(config.run), licence=licence)
    content = json.loads(config.model_dump_json())
    files: Files = {
        WEIGHTS_NAME: folder / WEIGHTS_NAME,
        CONFIG_NAME: (json.dumps(content, indent=2) + "\n").encode(),
        "config.json": small_config(config).encode(),
        "README.md": card.text.encode(),
        **card.files,
    }
    title = f"{config.adapter_type} adapter for {len(config.classes)} classes"
    return publish(hub, target, files, kind="model", title=title, private=private, told=told)


def publishable(config: AdapterConfig) -> AdapterConfig:
    """Return the config without places of this disk: of a backbone's own file only the name stays."""

    def shortened(run: RunConfig) -> RunConfig:
        weights = run.backbone.weights
        if weights in STANDARD_WEIGHTS:
            return run
        return run.model_copy(update={"backbone": run.backbone.model_copy(update={"weights": Path(weights).name})})

    merged = shortened(config.merged_from) if config.merged_from else None
    return config.model_copy(update={"run": shortened(config.run), "merged_from": merged})


def _check_weights(path: Path) -> None:
    if not read_tensors(path):
        raise UserError(f"{path} holds no tensors")


def publish(
    hub: Hub,
    target: HubId,
    files: Files,
    *,
    kind: Kind,
    title: str,
    private: bool | None,
    told: Told = untold,
) -> Pushed:
    """Put files into a repository in one commit. UserError; a repository that was made for it is empty then."""
    told("Asking the Hub who is logged in", 0.02)
    hub.who()
    told(f"Opening {target.name}", 0.05)
    head, stale, known, created = _opened(hub, target, kind, private, files)
    try:
        revision = _commit(hub, target, files, stale, (kind, head, title), told)
    except UserError as error:
        if not created:
            raise
        left = f"{error} {target.name} was made and is empty; pushing again fills it."
        raise UserError(left.rstrip(".")) from error
    told("Done", 1.0)
    prefix = "spaces/" if kind == "space" else ""
    return Pushed(target.name, revision, f"{hub.address}/{prefix}{target.name}", known, created)


def _opened(
    hub: Hub, target: HubId, kind: Kind, private: bool | None, files: Files
) -> tuple[str, list[str], bool, bool]:
    """Return (newest commit, our files there that have gone, whether it is private, whether it was made just now)."""
    api, name, created = hub.api, target.name, False
    with explained(f"opening {name}", name):
        try:
            info: Any = api.repo_info(name, repo_type=kind)
        except RepositoryNotFoundError:
            info = None
    if info is None:
        with explained(f"making {name}", name):
            sdk = "gradio" if kind == "space" else None
            api.create_repo(name, repo_type=kind, private=bool(private), space_sdk=sdk)
            created = True
            info = api.repo_info(name, repo_type=kind)
    if info.id != name:
        raise UserError(f"{name} was renamed", got=str(info.id), remedy=f"Push to {info.id}, or choose another name")
    if private is not None and bool(info.private) != private:
        is_now, wanted = ("private", "public") if info.private else ("public", "private")
        raise UserError(
            f"{name} is {is_now} already, and this push wants it {wanted}; nothing was written",
            remedy="Change that in its settings on the Hub, or push to another name",
        )
    there = _names(info)
    if kind == "model" and not created:
        _check_ours(name, there, getattr(info, "library_name", None))
    if kind == "space" and not created and set(there) - _ASIDE and "adapters.json" not in there:
        raise UserError(f"{name} holds another Space; nothing was written", remedy="Choose another name")
    ours = [one for one in there if PurePosixPath(one).parts[0] in (PICTURES, LIBRARY)]
    return str(info.sha), [one for one in ours if one not in files], bool(info.private), created


def _names(info: Any) -> list[str]:
    siblings: list[Any] = info.siblings or []
    return [str(one.rfilename) for one in siblings]


def _check_ours(name: str, there: Sequence[str], library: object) -> None:
    """Refuse to write over what is no adapter of ours."""
    strange = library not in (None, LIBRARY) or CONFIG_NAME not in there
    if strange and set(there) - _ASIDE:
        raise UserError(
            f"{name} holds something else; nothing was written",
            got=f"a model of {library}" if library else ", ".join(sorted(set(there) - _ASIDE)[:3]),
            expected="a new name, or a repository of an adapter",
            remedy="Choose another name",
        )


def _commit(
    hub: Hub, target: HubId, files: Files, stale: Sequence[str], about: tuple[Kind, str, str], told: Told
) -> str:
    """Return the commit. What the client itself does not try again is tried again here, without doing it twice."""
    api, (kind, parent, title) = hub.api, about
    mark = f"push {secrets.token_hex(8)}"
    for attempt in range(TRIES):
        try:
            with _operations(files, stale, told) as operations, _quiet():
                told("Uploading", 0.1)
                made = api.create_commit(
                    target.name,
                    operations,
                    commit_message=title,
                    commit_description=mark,
                    repo_type=kind,
                    parent_commit=parent,
                )
            return str(made.oid)
        except FAILURES as error:
            told("Looking whether it arrived", 0.95)
            if (arrived := _arrived(api, target.name, kind, mark)) is not None:
                return arrived
            if attempt + 1 == TRIES or not transient(error):
                raise explain_failure(error, f"pushing to {target.name}", target.name) from error
            told(f"Trying again, {attempt + 2} of {TRIES}", 0.1)
            time.sleep(PAUSE_SECONDS * 2**attempt)
    raise AssertionError("unreachable")


def _arrived(api: HfApi, name: str, kind: Kind, mark: str) -> str | None:
    """Return the commit of this push where it got through although its answer did not."""
    try:
        newest = api.list_repo_commits(name, repo_type=kind)[:5]
    except FAILURES:
        return None
    return next((str(one.commit_id) for one in newest if mark in one.message), None)


class _Told(io.BufferedReader):
    """A file that tells how much of it was read, once it is `sending`."""

    def __init__(self, path: Path, told: Told) -> None:
        super().__init__(io.FileIO(path))
        self.size, self.told, self.sending = path.stat().st_size, told, False

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(-1 if size is None else size)
        if self.sending and self.size:
            done = self.tell()
            self.told(f"Uploading {done / 1e6:.1f} of {self.size / 1e6:.1f} MB", 0.1 + 0.8 * done / self.size)
        return found


@contextmanager
def _operations(
    files: Files, stale: Sequence[str], told: Told
) -> Generator[list[CommitOperationAdd | CommitOperationDelete], None, None]:
    """What one commit does; an attempt that failed leaves its operations used."""
    opened: list[_Told] = []
    made: list[CommitOperationAdd | CommitOperationDelete] = [CommitOperationDelete(path) for path in stale]
    try:
        for path, content in files.items():
            if isinstance(content, bytes):
                made.append(CommitOperationAdd(path, content))
                continue
            file = _Told(content, told)
            opened.append(file)
            operation = CommitOperationAdd(path, file)
            # Hashed before it is sent: a reader cannot tell the one from the other.
            _ = operation.upload_info.sha256
            file.sending = True
            made.append(operation)
        yield made
    finally:
        for file in opened:
            file.close()


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Without the client's own bars, and its remark that files whose progress is watched go over HTTP: meant so."""
    logger, barred = logging.getLogger("huggingface_hub._commit_api"), are_progress_bars_disabled()

    def other(record: logging.LogRecord) -> bool:
        return "binary IO buffer" not in record.getMessage()

    logger.addFilter(other)
    if not barred:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.removeFilter(other)
        if not barred:
            enable_progress_bars()
