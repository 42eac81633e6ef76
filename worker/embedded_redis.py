"""A private Redis server on a unix socket, shared by every launcher on one data folder and gone with the last one.

The server itself holds the lock on its folder (the descriptor is handed to it), so a second launcher finds it taken
and adopts the live server; two servers can never append to one file. Each launcher holds a shared lock on `users`:
who can make it exclusive is the last one and switches the server off.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

import redis

from ..core.errors import UserError
from .connection import RedisAddress
from .redis_binary import find_redis_server

START_LIMIT = 15.0
KEEP = 0.5
"""Seconds between two looks whether the server still lives."""
_SOCKET_LIMIT = 100
"""Bytes: sun_path holds 108 on Linux and 104 on macOS, with its final zero."""
_LOG_LIMIT = 1_000_000

_log = logging.getLogger(__name__)


class EmbeddedRedis:
    """Starts or adopts the server of `folder` (made when missing); `address` says where it listens.

    Raises UserError when no server program is found or the server does not come up.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self.socket = _socket_path(self.folder)
        self.address = RedisAddress.of_socket(self.socket)
        self.adopted = False
        self.salvaged: Path | None = None
        """Where a damaged store was moved to, if the server refused to start on it."""
        self._process: subprocess.Popen[bytes] | None = None
        self._users: int | None = os.open(self.folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._users, fcntl.LOCK_SH)
            self._start_or_adopt()
        except BaseException:
            self._leave()
            raise
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="redis-keeper", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Leave; switch the server off (after it has written everything) when no other launcher uses it."""
        if self._users is None:
            return
        self._closing.set()
        self._keeper.join()
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._leave()
            return
        try:
            self._shut_down()
            if self.socket.parent != self.folder:
                with contextlib.suppress(OSError):
                    self.socket.parent.rmdir()
        finally:
            self._leave()

    def __enter__(self) -> EmbeddedRedis:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def _start_or_adopt(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            lock = self._take_lock()
            if lock is not None:
                try:
                    self.socket = _socket_path(self.folder)
                    self.address = RedisAddress.of_socket(self.socket)
                    self._start(lock, deadline)
                finally:
                    os.close(lock)  # the server keeps its own copy, and with it the lock
                return
            self._find_socket()
            if self._pings():
                self.adopted = True
                return
            # Held but silent: still loading, or a dying server's last child. Both end by themselves.
            time.sleep(0.02)
        raise UserError(
            "Another process holds the private Redis folder but does not answer",
            got=str(self.folder),
            remedy="End the redis-server process that uses this folder, or choose another data folder with --data",
        )

    def _keep(self) -> None:
        """Start the server again, at the same address, whenever it is gone: its lock is free then."""
        while not self._closing.wait(KEEP):
            try:
                lock = self._take_lock()
                if lock is None:
                    continue
                try:
                    _log.warning("The private Redis ended and is started again")
                    self._start(lock, time.monotonic() + START_LIMIT)
                finally:
                    os.close(lock)
            except (OSError, UserError):
                _log.exception("The private Redis could not be started again; trying on")
                self._closing.wait(5.0)

    def _take_lock(self) -> int | None:
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _start(self, lock: int, deadline: float) -> None:
        program = find_redis_server()
        if self._launch(program, lock, deadline):
            return
        if not self._damaged():
            raise UserError(
                f"The private Redis did not start ({self._last_words()})",
                got=str(program),
                remedy=f"Read {self.folder / 'redis.log'}, or set REDIS_URL to a Redis that runs elsewhere",
            )
        # Every run is also written in its own folder and is read in again, so setting the file aside loses nothing,
        # while `redis-check-aof --fix` would cut off everything behind the damage.
        self.salvaged = self.folder / time.strftime("damaged-%Y%m%d-%H%M%S")
        self.salvaged.mkdir(mode=0o700)
        for name in ("appendonly.aof", "appendonlydir", "dump.rdb"):
            if (self.folder / name).exists():
                (self.folder / name).rename(self.salvaged / name)
        if not self._launch(program, lock, time.monotonic() + START_LIMIT):
            raise UserError(
                f"The private Redis did not start ({self._last_words()})",
                got=str(program),
                remedy=f"Read {self.folder / 'redis.log'}, or set REDIS_URL to a Redis that runs elsewhere",
            )

    def _launch(self, program: Path, lock: int, deadline: float) -> bool:
        """Start the server and wait until it answers; False when it ended or stayed silent."""
        log = self.folder / "redis.log"
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(self.folder / "redis.old.log")
        with log.open("ab") as out:
            process = subprocess.Popen(
                [program, *self._settings()],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[lock],
                start_new_session=True,  # a Ctrl-C must reach the workers first; they still have to save
            )
        while time.monotonic() < deadline and process.poll() is None:
            if self._pings():
                self._process = process
                # It may outlive us when others use it; should it end, somebody has to take note, or it stays a zombie.
                threading.Thread(target=process.wait, name="redis-wait", daemon=True).start()
                (self.folder / "socket").write_text(str(self.socket))
                return True
            time.sleep(0.01)
        process.kill()
        process.wait()
        return False

    def _settings(self) -> list[str]:
        # fmt: off
        return [
            "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
            "--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always", "--aof-load-truncated", "yes",
            "--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no", "--databases", "2",
        ]
        # fmt: on

    def _find_socket(self) -> None:
        """Use the live server's own socket: the system's temp folder may differ between two launchers."""
        noted = self.folder / "socket"
        if noted.exists() and noted.read_text():
            self.socket = Path(noted.read_text())
            self.address = RedisAddress.of_socket(self.socket)

    def _pings(self) -> bool:
        client = self.address.client(retries=0)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _damaged(self) -> bool:
        return bool(re.search(r"Bad file format|Bad or unexpected|Unexpected end of file|AOF.*corrupt", self._tail()))

    def _last_words(self) -> str:
        lines = [line for line in self._tail().splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it said nothing"

    def _tail(self) -> str:
        log = self.folder / "redis.log"
        return log.read_bytes()[-2000:].decode(errors="replace") if log.exists() else ""

    def _shut_down(self) -> None:
        client = self.address.client(retries=0)
        try:
            client.shutdown(nosave=True)  # "nosave" concerns the snapshot; the append-only file is synced
        except redis.RedisError:
            if self._process is not None:
                self._process.terminate()
        finally:
            client.close()
        if self._process is not None:
            try:
                self._process.wait(START_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            return
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            lock = self._take_lock()
            if lock is not None:
                os.close(lock)
                return
            time.sleep(0.02)

    def _leave(self) -> None:
        if self._users is not None:
            os.close(self._users)
            self._users = None


def _socket_path(folder: Path) -> Path:
    """A socket in the folder itself, or in a short private one when the path is too long or needs quoting."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_LIMIT and re.fullmatch(r"[\w./-]+", str(path), re.ASCII):
        return path
    mark = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"pointsmith-{os.getuid()}-{mark}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UserError(
            "The folder for Redis's socket belongs to somebody else or is open to others",
            got=str(short),
            expected="a folder that only this user can enter",
            remedy="Remove it, or choose a data folder with a short path of plain letters",
        )
    return short / "redis.sock"
