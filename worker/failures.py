"""Naming the reason of a failed run, so that the page can say what helps."""

from __future__ import annotations

import errno
from typing import Literal

from ..core.errors import Diverged, UserError

Kind = Literal["memory", "nan", "data", "device", "disk", "network", "bug", "user", "lost"]

_NETWORK = ("ConnectTimeout", "ReadTimeout", "ConnectError", "HfHubHTTPError", "LocalEntryNotFoundError")
"""Classes of libraries that need not be installed or imported here."""


def kind_of(error: BaseException) -> Kind:
    """The kind of an exception, judged by its class and, for errors of PyTorch, by its words."""
    names = {cls.__name__ for cls in type(error).__mro__}
    words = str(error).lower()
    if isinstance(error, Diverged):
        return "nan"
    if isinstance(error, UserError):
        return "user"
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names or "out of memory" in words:
        return "memory"
    if "can't allocate memory" in words or "cannot allocate memory" in words:
        return "memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return "disk"
    if isinstance(error, (ConnectionError, TimeoutError)) or "ConnectionError" in names or names.intersection(_NETWORK):
        return "network"
    if "AcceleratorError" in names or ("RuntimeError" in names and ("cuda" in words or "nccl" in words)):
        return "device"
    return "bug"
