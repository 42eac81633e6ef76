"""How much memory a run takes, and how much there is."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

GIB = 2**30
_PROC = Path("/proc/self")
_CGROUP = Path("/sys/fs/cgroup")


def gib(size: float) -> str:
    """Return bytes as GiB, for people."""
    return f"{max(0.0, size) / GIB:.2f} GiB"


def restart_peak(device: torch.device) -> None:
    """Have `peak_bytes` count from now, where the system can: a worker's process may have had a larger run before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not Linux, or not allowed: then the peak is the process's
        (_PROC / "clear_refs").write_text("5", encoding="ascii")


def peak_bytes(device: torch.device) -> int:
    """Return the peak since `restart_peak`: what tensors took of the GPU, or the whole process's memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):  # getrusage would count the process that this one was started from, too
        for line in (_PROC / "status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def taken_bytes(device: torch.device) -> int:
    """Return what is taken now, counted as `peak_bytes` counts."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def free_bytes(device: torch.device) -> int:
    """Return what is free: of the GPU, with what PyTorch keeps there unused; else of the machine or the container."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # "max" where the container has no limit
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        free = min(free, max(0, limit - used))
    return free


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are made while it is on, and the most that were there at once.

    The answer is the same every time, and needs no process of its own. What an operation takes inside itself is not
    seen, and what was there before is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._known: dict[int, weakref.ref[Any]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first operation imports PyTorch's compiler, only to leave this out of it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        given = {id(one.untyped_storage()) for one in tree_iter((args, kwargs)) if isinstance(one, Tensor)}
        for one in tree_iter(answer):
            if isinstance(one, Tensor):
                storage = one.untyped_storage()
                if id(storage) not in self._known and id(storage) not in given:
                    self._count(storage)
        return answer

    def _count(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()

        def freed(_: weakref.ref[Any]) -> None:
            del self._known[key]
            self.now -= size

        self._known[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


def most_taken(work: Callable[[], object], device: torch.device) -> int:
    """Return the bytes that tensors took at most while this ran, beyond those that were there before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with Live() as live:
        work()
    return live.peak
