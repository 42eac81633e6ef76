"""Where a backbone's weight file lies on this machine: found, checked, or fetched.

Looked for in this order: `<cache>/weights/<kind>/<file name>`, where downloads go and where a file fetched by hand is
put; then the Hub's own cache, at the pinned revision. Nothing is asked of the network when the file is here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from filelock import BaseFileLock, FileLock, Timeout
from huggingface_hub import (
    get_hf_file_metadata,  # pyright: ignore[reportUnknownVariableType]
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers  # pyright: ignore[reportUnknownVariableType]

from ..errors import UserError
from ..places import user_folder
from .download import Part, Progress, Remote, Report, Unfetched, broken, download, file_sha256, refusal
from .source import Source

ASSETS = Path(__file__).resolve().parents[2] / "assets"
EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class WeightFile:
    """A weight file on this disk; `sha256` is what it is held to, None where nobody ever said."""

    path: Path
    sha256: str | None


class _Unwanted(Exception):
    """Nobody waits for this download any more."""


def cache_dir() -> Path:
    """`$POINTSMITH_CACHE`, else the place where this operating system keeps what can be fetched again."""
    return user_folder("POINTSMITH_CACHE", mac="Caches", xdg="XDG_CACHE_HOME", home=".cache")


def place_of(kind: str, source: Source) -> Path:
    """Return where the file of this backbone belongs, whether fetched by the program or by hand.

    The name is the source's, else the one at its address; a file that only a browser gets is `pretrain.pth`.
    """
    name = source.filename
    if name == Source.filename and not source.repository:
        name = urlsplit(source.url).path if source.url else "pretrain.pth"
    return cache_dir() / "weights" / kind / Path(name).name


def address_of(source: Source) -> str:
    """Return where a person gets the file: its exact address if there is one, else the authors' page."""
    if source.repository:
        return hf_hub_url(source.repository, source.filename, revision=source.revision)
    return source.url or source.homepage


def published(source: Source) -> bool:
    """Return whether there is a file that somebody published, or ships, for this backbone."""
    return bool(source.asset or source.repository or source.url or source.homepage)


def find(kind: str, source: Source) -> WeightFile | None:
    """Return the file if it is on this disk. Quick: it is neither opened nor checked."""
    if source.asset:
        return WeightFile(ASSETS / source.asset, source.sha256)
    place = place_of(kind, source)
    if place.is_file():
        return WeightFile(place, source.sha256 or _recorded(place))
    if source.repository:
        cached = try_to_load_from_cache(source.repository, source.filename, revision=source.revision)
        if isinstance(cached, str):
            return WeightFile(Path(cached), source.sha256 or _blob_name(Path(cached)))
    return None


def check(kind: str, source: Source, found: WeightFile) -> None:
    """Compare the file with its SHA-256, where one is known. UserError when it is another file or damaged."""
    if found.sha256 is None or source.asset:
        return
    actual = file_sha256(found.path)
    if actual == found.sha256:
        return
    if source.repository or source.url:
        remedy = f"`pointsmith fetch {kind} --force` downloads it again"
    else:
        remedy = f"Replace it by the file from {address_of(source)}"
    raise UserError(
        f"The weight file {found.path} of {kind} is damaged or another file: its SHA-256 is {actual}",
        expected=found.sha256,
        remedy=f"{remedy}; another file of yours is used with --set backbone.weights=PATH",
    )


def fetch(kind: str, source: Source, report: Report = lambda _: None, *, force: bool = False) -> WeightFile:
    """Return the file, checked, downloading it when it is not here or when `force` wants it anew.

    UserError when it is damaged or cannot be had; it says where to get it and where to put it.
    """
    found = None if force else find(kind, source)
    if source.asset:
        found = WeightFile(ASSETS / source.asset, source.sha256)
    if found is None:
        try:
            found = _fetch(kind, source, report, force)
        except Unfetched as reason:
            raise absent(kind, source, str(reason)) from reason
    check(kind, source, found)
    return found


def fetching(
    kind: str, source: Source, *, force: bool = False, every: float = EVERY_SECONDS
) -> Generator[Progress, None, None]:
    """Fetch in the background and yield how far it is, once in `every` seconds; nothing when the file is here.

    Errors as of `fetch`. Closing the iterator ends the download; its partial file stays.
    """
    if find(kind, source) and not force:
        return
    box: dict[str, Any] = {}
    news, unwanted = threading.Event(), threading.Event()

    def report(progress: Progress) -> None:
        if unwanted.is_set():
            raise _Unwanted
        box["progress"] = progress
        news.set()

    def work() -> None:
        try:
            fetch(kind, source, report, force=force)
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=work, name=f"fetch-{kind}", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(every)
            if news.is_set():
                news.clear()
                yield box["progress"]
    finally:
        unwanted.set()
    if news.is_set():
        yield box["progress"]
    if "error" in box:
        raise box["error"]


def absent(kind: str, source: Source, reason: str) -> UserError:
    """Return the error that says exactly which file to put where."""
    place = place_of(kind, source)
    again = f"Try `pointsmith fetch {kind}` again, or download" if source.repository or source.url else "Download"
    return UserError(
        f"The weights of {kind} are not on this machine and could not be fetched ({reason})",
        remedy=f"{again} {address_of(source)} by hand and put it as {place.name} into the folder {place.parent}, "
        "or use another file with --set backbone.weights=PATH",
    )


def _fetch(kind: str, source: Source, report: Report, force: bool) -> WeightFile:
    """Download under a lock, so that of two processes one fetches and the other waits for its file."""
    if not (source.repository or source.url):
        raise Unfetched("they cannot be downloaded by a program")
    place = place_of(kind, source)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.with_name(f".{place.name}.lock"))
        waited = _acquire(lock, place, report)
    except OSError as error:
        raise Unfetched(f"the folder {place.parent} cannot be written: {error.strerror or error}") from error
    try:
        if waited and (found := find(kind, source)):
            return found
        if force:
            Part(place).drop()
        remote = _on_hub(source) if source.repository else Remote(source.url or "", sha256=source.sha256)
        sha256 = download(remote, place, report)
        _record(place, sha256)
    finally:
        lock.release()
    return WeightFile(place, sha256)


def _acquire(lock: BaseFileLock, place: Path, report: Report) -> bool:
    """Take the lock; return whether another process held it, whose progress is told meanwhile."""
    waited = False
    while True:
        try:
            lock.acquire(timeout=EVERY_SECONDS if waited else 0)
            return waited
        except Timeout:
            waited = True
            report(Progress(f"Another process downloads {place.name}", Part(place).length(), None))


def _on_hub(source: Source) -> Remote:
    """Ask the Hub for the file's identity and size. Unfetched says why it cannot be had."""
    assert source.repository
    url = hf_hub_url(source.repository, source.filename, revision=source.revision)
    try:
        known = get_hf_file_metadata(url)
    except OfflineModeIsEnabled as error:
        raise Unfetched("HF_HUB_OFFLINE is set") from error
    except HfHubHTTPError as error:
        status: Any = getattr(error.response, "status_code", None)
        raise Unfetched(refusal(status) if isinstance(status, int) else str(error)) from error
    except httpx2.HTTPError as error:
        raise Unfetched(broken(error)) from error
    except (OSError, ValueError) as error:
        raise Unfetched(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    sha256 = source.sha256 or (known.etag if known.etag and _is_sha256(known.etag) else None)
    # The client drops the token when it is sent on to another host.
    return Remote(url, build_hf_headers(), identity=known.etag, size=known.size, sha256=sha256)


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)


def _blob_name(cached: Path) -> str | None:
    """Return the SHA-256 of a large file in the Hub's cache: its link points to a file of that name."""
    name = Path(os.readlink(cached)).name if cached.is_symlink() else ""
    return name if _is_sha256(name) else None


def _record_of(place: Path) -> Path:
    return place.with_name(place.name + ".sha256")


def _record(place: Path, sha256: str) -> None:
    """Note what came, as `sha256sum -c` reads it: where nobody published a hash, later loads are held to this one."""
    try:
        _record_of(place).write_text(f"{sha256}  {place.name}\n", encoding="utf-8")
    except OSError as error:
        raise Unfetched(f"the folder {place.parent} cannot be written: {error.strerror or error}") from error


def _recorded(place: Path) -> str | None:
    try:
        word = _record_of(place).read_text(encoding="utf-8").split()
    except OSError:
        return None
    return word[0] if word and _is_sha256(word[0]) else None
