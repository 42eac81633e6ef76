"""One file from one address: streamed beside its place, resumed where it broke, checked, then renamed into place.

The library's own download is not used: it takes its partial file away when it fails, so that nothing is left to
resume from (huggingface_hub 2.4), and tries for 23 seconds before it says that there is no network.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import get_session
from huggingface_hub.errors import OfflineModeIsEnabled

PATIENCE = 4
"""How often a broken connection is taken up again without a byte gained in between."""
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 30.0
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Progress:
    """How far a download is; `total` is None where the server does not say it."""

    what: str
    done_bytes: int
    total_bytes: int | None

    def __str__(self) -> str:
        done = f"{self.done_bytes / 1e6:.1f}"
        whole = f"{done} of {self.total_bytes / 1e6:.1f} MB" if self.total_bytes else f"{done} MB"
        return f"{self.what}: {whole}"


Report = Callable[[Progress], None]
"""Called at every chunk; what it raises ends the download, and the partial file stays."""


class Unfetched(Exception):
    """A download that did not succeed; the text is the reason, a part of a sentence."""


class _Restart(Exception):
    """What is here is no beginning of what the server has."""


@dataclass(frozen=True)
class Remote:
    """A file at an address. What is None is not known before it is there."""

    url: str
    headers: dict[str, str] = field(default_factory=lambda: {})
    identity: str | None = None
    """Names the content, so that a partial file is known to be of the same one; else the server's ETag has to."""
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Part:
    """The partial file of `place`, and beside it the word by which its content is recognised."""

    place: Path

    @property
    def path(self) -> Path:
        return self.place.with_name(self.place.name + ".part")

    @property
    def mark(self) -> Path:
        return self.place.with_name(self.place.name + ".part.tag")

    def length(self) -> int:
        """Return the bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def tag(self) -> str:
        """Return the noted identity or ETag, '' where there is none."""
        return self.mark.read_text(encoding="utf-8") if self.mark.is_file() else ""

    def drop(self) -> None:
        """Take it away, so that the next download starts afresh."""
        self.mark.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def download(remote: Remote, place: Path, report: Report) -> str:
    """Bring the file to `place`, resuming what an earlier call left, and return its SHA-256.

    `place` is the old file, or none, until the new one is whole and checked. Two processes must not do this at once
    for one place. Unfetched says why not; a partial file that can be resumed from stays.
    """
    part = Part(place)
    try:
        _all_bytes(remote, part, report)
        found = file_sha256(part.path)
        if remote.sha256 and found != remote.sha256:
            part.drop()
            raise Unfetched(f"what came has the SHA-256 {found}, expected was {remote.sha256}")
        with part.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part.path, place)
    except OfflineModeIsEnabled as error:
        raise Unfetched("HF_HUB_OFFLINE is set") from error
    except OSError as error:
        if error.errno in _FULL:
            raise Unfetched(f"the disk is full; {part.length():,} bytes are kept to resume from") from error
        raise Unfetched(f"the folder cannot be written: {error.strerror or error}") from error
    part.mark.unlink(missing_ok=True)
    return found


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def broken(error: Exception) -> str:
    """Return a failure of the network as a part of a sentence."""
    if isinstance(error, httpx2.TimeoutException):
        return "the server does not answer"
    if isinstance(error, httpx2.ConnectError):
        return "no connection"
    return f"the connection broke, {type(error).__name__}"


def refusal(status: int) -> str:
    """Return an HTTP status as a part of a sentence."""
    known = {
        401: "the address wants a login, HTTP 401; for the Hub: `hf auth login`",
        403: "access is denied, HTTP 403; for the Hub: accept the terms on the model's page and `hf auth login`",
        404: "there is no such file at the address, HTTP 404",
    }
    return known.get(status, f"the server answered HTTP {status}")


def _all_bytes(remote: Remote, part: Part, report: Report) -> None:
    """Stream until the partial file is whole, going on where a broken connection left it."""
    vain = 0
    while True:
        before = part.length()
        try:
            _stream(remote, part, report)
            return
        except httpx2.TransportError as error:
            vain = 0 if part.length() > before else vain + 1
            if not part.length() or vain > PATIENCE:
                kept = f"; {part.length():,} bytes are kept to resume from" if part.length() else ""
                raise Unfetched(broken(error) + kept) from error
            time.sleep(PAUSE_SECONDS)
        except _Restart as error:
            part.drop()
            vain += 1
            if vain > PATIENCE:
                raise Unfetched(f"the server cannot be made out, {error}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Unfetched(str(error) or type(error).__name__) from error


def _stream(remote: Remote, part: Part, report: Report) -> None:
    have = _resumable(remote, part)
    # Compressed, neither the lengths nor the ranges would be those of the file.
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if remote.identity is None and part.tag():
            headers["If-Range"] = part.tag()
    with get_session().stream("GET", remote.url, headers=headers, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code == 416:
            if have and response.headers.get("Content-Range", "").endswith(f"/{have}"):
                return  # all of it is here already
            raise _Restart("it has fewer bytes than came before")
        if response.status_code not in (200, 206):
            raise Unfetched(refusal(response.status_code))
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise Unfetched("the server answered with a web page instead of the file")
        start = _start(response.headers.get("Content-Range", "")) if response.status_code == 206 else 0
        if start not in (0, have):
            raise _Restart("it sends another range than was asked for")
        if not start:
            part.drop()
            part.mark.write_text(remote.identity or _etag(response.headers), encoding="utf-8")
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else remote.size
        _make_room(part, total, start)
        _write(response, part, Progress(f"Downloading {part.place.name}", start, total), report)
    if total is not None and part.length() != total:
        raise httpx2.RemoteProtocolError(f"{part.length()} of {total} bytes came")


def _write(response: httpx2.Response, part: Part, at: Progress, report: Report) -> None:
    with part.path.open("ab" if at.done_bytes else "wb") as file:
        report(at)
        for chunk in response.iter_raw():
            file.write(chunk)
            at = Progress(at.what, at.done_bytes + len(chunk), at.total_bytes)
            report(at)


def _resumable(remote: Remote, part: Part) -> int:
    """Return how many bytes can be kept: none unless something later tells a changed file from the same one."""
    tag = part.tag()
    same = bool(tag or remote.sha256) if remote.identity is None else tag == remote.identity
    if same and not (remote.size is not None and part.length() > remote.size):
        return part.length()
    part.drop()
    return 0


def _etag(headers: Any) -> str:
    """Return what `If-Range` may carry: a strong ETag, else the date of the last change, else ''."""
    etag = str(headers.get("ETag", ""))
    return etag if etag.startswith('"') else str(headers.get("Last-Modified", ""))


def _start(content_range: str) -> int:
    """Return a of `bytes a-b/c`, -1 when it is not that."""
    first = content_range.removeprefix("bytes ").split("-")[0]
    return int(first) if first.isdigit() else -1


def _make_room(part: Part, total: int | None, start: int) -> None:
    free = shutil.disk_usage(part.place.parent).free
    if total is not None and total - start > free:
        raise Unfetched(
            f"the disk is too full: {total - start:,} bytes are needed in {part.place.parent}, {free:,} are free"
        )
