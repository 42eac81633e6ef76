"""What the machines on one Redis share: a data folder or an artefact store. One that shares neither is turned away.

Without that, a run accepted here would be trained there from files that are not there, and its adapter would never come
back. Each launcher notes in Redis what it shares; the note fades when the launcher is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from pathlib import Path

import psutil

from ..core.durable import write_synced
from ..core.errors import UserError
from .artefacts import VARIABLE
from .connection import Unreachable
from .ledger import Ledger

STALE = 60.0


class Site:
    """One launcher's note; `artefacts` is the identity of its artefact store, None without one."""

    def __init__(self, ledger: Ledger, data_dir: Path, artefacts: str | None):
        self._ledger = ledger
        self._host = socket.gethostname()
        self._name = f"{os.getpid()}.{secrets.token_hex(4)}@{self._host}"
        self._key = ledger.key("sites")
        self._shares = f"artefacts {artefacts}" if artefacts else f"folder {_identity(data_dir)}"
        self._alone = ledger.address.url.startswith("unix:")
        """A private server: everybody who reaches it is on this machine and uses this folder."""

    def join(self) -> None:
        """Add our note; UserError when others share something else."""
        if self._alone:
            return
        for name, note in self._others().items():
            if note["shares"] != self._shares:
                raise UserError(
                    "This machine shares neither data folder nor artefact store with the others on this Redis",
                    got=f"{_shown(self._shares)}; {name.partition('@')[2]} has {_shown(note['shares'])}",
                    expected="one folder that all machines reach, or one artefact store",
                    remedy=f"Set {VARIABLE} to the same shared folder or address on all of them, or give all of them "
                    f"the same data folder with --data (a machine that was just killed counts for {STALE:.0f} s)",
                )
        self.sign()

    def sign(self) -> None:
        """Renew our note and forget those of launchers that are gone."""
        if self._alone:
            return
        with self._ledger.address.answering():
            others = self._others()
            gone = [name for name in self._ledger.redis.hkeys(self._key) if name not in others and name != self._name]
            if gone:
                self._ledger.redis.hdel(self._key, *gone)
            self._ledger.redis.hset(
                self._key, self._name, json.dumps({"shares": self._shares, "beat": self._ledger.redis.time()[0]})
            )

    def leave(self) -> None:
        """Take our note away."""
        with contextlib.suppress(Unreachable), self._ledger.address.answering():
            self._ledger.redis.hdel(self._key, self._name)

    def _others(self) -> dict[str, dict[str, str]]:
        with self._ledger.address.answering():
            now = self._ledger.redis.time()[0]
            notes = {name: json.loads(text) for name, text in self._ledger.redis.hgetall(self._key).items()}
        return {
            name: note
            for name, note in notes.items()
            if name != self._name and now - note["beat"] < STALE and not self._died_here(name)
        }

    def _died_here(self, name: str) -> bool:
        who, _, host = name.partition("@")
        return host == self._host and not psutil.pid_exists(int(who.partition(".")[0]))


def _identity(data_dir: Path) -> str:
    """The data folder's own name, the same from whichever machine it is looked at."""
    path = data_dir / "id"
    if not path.exists():
        write_synced(path, secrets.token_hex(12).encode())
    return path.read_text().strip()


def _shown(shares: str) -> str:
    kind, _, name = shares.partition(" ")
    return f"{'artefact store' if kind == 'artefacts' else 'data folder'} {name[:8]}"
