"""A child process for files from strangers: none of this process's secrets, and limits on memory, time and output."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

SCRATCH = "POINTSMITH_SCRATCH"
"""The environment variable that says where unpacked archives and arrays lie on their way; none: the system's place."""
_OUTPUT_BYTES = 1 << 30
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH")


def environment() -> dict[str, str]:
    """Return the environment of such a child."""
    kept = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    # Each thread of a BLAS reserves address space, which the memory limit counts.
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


def end_child(process: subprocess.Popen[Any]) -> None:
    """End a child and close the pipes to it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was not sent has no reader any more
                pass


def limit_memory(memory_bytes: int, output_bytes: int = _OUTPUT_BYTES) -> None:
    """Limit this process's address space and each file it writes, where the system knows such limits."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is all there is
        return
    wanted = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_FSIZE: output_bytes, resource.RLIMIT_CORE: 0}
    for which, value in wanted.items():
        try:
            resource.setrlimit(which, (value, value))
        except (ValueError, OSError) as error:  # macOS refuses RLIMIT_AS; the other limits still hold
            print(f"limit {which} not set: {error}", file=sys.stderr)


def limit_cpu(seconds: int) -> None:
    """Let this process use so many more seconds of CPU time from now; may be called again and again."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
