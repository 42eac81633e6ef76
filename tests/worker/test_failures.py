"""Failures get the name of what happened, through whatever they were wrapped in."""

from __future__ import annotations

import errno
from typing import Any

import httpx2
import pytest
import torch
from pointsmith.core.errors import Diverged, UserError
from pointsmith.core.models.download import Unfetched
from pointsmith.worker.failures import kind_of


def caused(error: BaseException, *causes: BaseException) -> BaseException:
    at = error
    for cause in causes:
        at.__cause__ = cause
        at = cause
    return error


def answered(status: int) -> httpx2.HTTPStatusError:
    asked = httpx2.Request("GET", "https://hub/x")
    return httpx2.HTTPStatusError("no", request=asked, response=httpx2.Response(status, request=asked))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
            "memory",
        ),
        (caused(UserError("not enough"), MemoryError()), "memory"),
        (Diverged("Training diverged at step 3"), "nan"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
        (caused(UserError("absent"), Unfetched("the disk is full"), OSError(errno.ENOSPC, "full")), "disk"),
        (caused(UserError("absent"), Unfetched("the disk is too full: 9 bytes are needed")), "disk"),
        (caused(UserError("absent"), Unfetched("no connection"), httpx2.ConnectError("refused")), "network"),
        (caused(UserError("absent"), Unfetched("HF_HUB_OFFLINE is set")), "network"),
        (ConnectionResetError(), "network"),
        (caused(UserError("absent"), Unfetched("access is denied, HTTP 403; for the Hub: accept")), "authorisation"),
        (caused(UserError("absent"), Unfetched("no"), answered(401)), "authorisation"),
        (answered(503), "network"),
        (RuntimeError("CUDA error: device-side assert triggered"), "device"),
        (RuntimeError("Found no NVIDIA driver on your system."), "device"),
        (RuntimeError("shape '[3]' is invalid for input of size 4"), "bug"),
        (PermissionError(errno.EACCES, "Permission denied"), "bug"),
        (KeyError("x"), "bug"),
        (UserError("wrong"), "user"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_kinds(error: Any, kind: str) -> None:
    assert kind_of(error, "train") == kind


def test_what_the_user_can_mend_is_data_while_data_are_loaded() -> None:
    assert kind_of(UserError("no clouds"), "data") == "data"
    assert kind_of(ValueError("x"), "data") == "bug"
