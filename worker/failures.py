"""Naming the reason of a failed run, so that the page can say what helps."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Literal

from ..core.errors import Diverged, UserError

Kind = Literal["memory", "nan", "data", "device", "disk", "authorisation", "network", "bug", "user", "lost"]

_NETWORK = {"TransportError", "TimeoutException", "HTTPError", "HfHubHTTPError", "LocalEntryNotFoundError"}
_REFUSED = {"GatedRepoError", "LocalTokenNotFoundError", "AuthenticationError"}
"""Classes of libraries that need not be installed or imported here."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
_DEVICE = ("cuda", "nccl", "nvidia driver", "cudnn", "cublas", "hip error", "mps backend")


def kind_of(error: BaseException, stage: str = "") -> Kind:
    """The kind of an exception, judged by its class, its words and those of what caused it.

    What the user can mend is `data` while the run was at the stage of that name, `user` elsewhere.
    """
    if isinstance(error, Diverged):
        return "nan"
    for cause in _causes(error):
        kind = _technical(cause)
        if kind is not None:
            return kind
    if any(type(cause).__name__ == "Unfetched" for cause in _causes(error)):
        return "network"
    if isinstance(error, UserError):
        return "data" if stage == "data" else "user"
    return "bug"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised `from`."""
    found: BaseException | None = error
    for _ in range(10):
        if found is None:
            return
        yield found
        found = found.__cause__


def _technical(error: BaseException) -> Kind | None:
    names = {cls.__name__ for cls in type(error).__mro__}
    words = str(error).lower()
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names or any(one in words for one in _NO_MEMORY):
        return "memory"
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return "disk"
    if "RuntimeError" in names and ("no space left" in words or "disk quota" in words):
        return "disk"
    if names & _REFUSED or _status(error) in (401, 403):
        return "authorisation"
    if "Unfetched" in names:  # ours, for a download; without a cause when the server answered, but not with the file
        return "authorisation" if "http 401" in words or "http 403" in words else "disk" if "disk" in words else None
    if isinstance(error, (ConnectionError, TimeoutError)) or names & _NETWORK:
        return "network"
    if "AcceleratorError" in names or ("RuntimeError" in names and any(one in words for one in _DEVICE)):
        return "device"
    return None


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of an HTTP library carries."""
    return getattr(getattr(error, "response", None), "status_code", None)
