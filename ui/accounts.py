"""Names and passwords: hashed with scrypt, tried a few times only, and remembered by a cookie until the evening.

A file of accounts has one `name:hash` a line, as `pointsmith password NAME` prints it, and lines that begin with #.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from fastapi import Request

from ..core.errors import UserError

COOKIE = "pointsmith-session"
LIFETIME = 12 * 3600
"""Seconds that a login lasts."""
_COST = (1 << 14, 8, 1)
"""scrypt's n, r and p: about 50 ms and 16 MB for each attempt."""
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_PATIENCE = 900.0
_TRIES = {"from": 10, "of": 50}
"""Failed attempts in `_PATIENCE` seconds from one address, and on one account; then the door stays shut for a while."""
_LEAST = 8


def hashed(password: str) -> str:
    """Return `scrypt$n$r$p$salt$hash` of a password, with a salt of its own."""
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, _COST)
    parts = ["scrypt", *map(str, _COST), *(base64.b64encode(one).decode() for one in (salt, digest))]
    return "$".join(parts)


def matches(password: str, stored: str) -> bool:
    """Whether the password is the one of this hash."""
    _, n, r, p, salt, digest = stored.split("$")
    found = _scrypt(password, base64.b64decode(salt), (int(n), int(r), int(p)))
    return hmac.compare_digest(found, base64.b64decode(digest))


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    n, r, p = cost
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=1 << 27, dklen=32)


def _is_hash(text: str) -> bool:
    found = re.fullmatch(r"scrypt\$(\d{4,7})\$(\d{1,2})\$(\d{1,2})\$[A-Za-z0-9+/]+=*\$[A-Za-z0-9+/]+=*", text)
    return found is not None and int(found[1]) * int(found[2]) <= 1 << 19


@dataclass
class Accounts:
    """Who may enter, and who is inside. Sessions live in this process: a restart asks everybody again."""

    hashes: dict[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _sessions: dict[str, tuple[str, float]] = field(default_factory=dict)
    _failed: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def read(cls, given: Iterable[str]) -> Accounts:
        """Understand `NAME:PASSWORD`, `NAME:scrypt$…` and files of the latter. UserError, never with a password."""
        found: dict[str, str] = {}
        for one in given:
            if ":" in one and not Path(one).is_file():
                name, _, secret = one.partition(":")
                found[_checked_name(name)] = secret if _is_hash(secret) else hashed(_checked(secret))
            else:
                found |= _file(Path(one).expanduser())
        return cls(found)

    def enter(self, name: str, password: str, address: str) -> str | None:
        """Return a new session's token, or None for a wrong name or password. UserError after too many of them."""
        places = {"from": address, "of": name}
        with self._lock:
            for how, who in places.items():
                if len(self._recent(how, who)) >= _TRIES[how]:
                    raise UserError("Too many attempts to log in", remedy=f"Wait {_PATIENCE / 60:.0f} minutes")
        # An unknown name takes as long as a wrong password.
        right = matches(password, self.hashes.get(name, _DUMMY)) and name in self.hashes
        now = self.clock()
        with self._lock:
            if not right:
                for how, who in places.items():
                    self._recent(how, who).append(now)
                return None
            token = secrets.token_urlsafe(32)
            self._sessions = {one: kept for one, kept in self._sessions.items() if kept[1] > now}
            self._sessions[token] = (name, now + LIFETIME)
            return token

    def leave(self, token: str | None) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(token or "", None)

    def name_of(self, request: Request) -> str | None:
        """The account of a request's cookie; None without a session that still lasts."""
        name, until = self._sessions.get(request.cookies.get(COOKIE, ""), ("", 0.0))
        return name if name and until > self.clock() else None

    def _recent(self, how: str, who: str) -> list[float]:
        oldest = self.clock() - _PATIENCE
        if len(self._failed) > 10_000:
            self._failed = {key: times for key, times in self._failed.items() if times and times[-1] > oldest}
        self._failed[how, who] = [one for one in self._failed.get((how, who), []) if one > oldest]
        return self._failed[how, who]


_DUMMY = "scrypt$16384$8$1$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError("An account's name does not fit", got=name, expected="letters, digits and . _ @ -, at most 64")
    return name


def _checked(password: str) -> str:
    if len(password) < _LEAST:
        raise UserError("A password is too short", expected=f"{_LEAST} characters or more")
    return password


def _file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "The accounts are neither NAME:PASSWORD nor a file that can be read",
            expected="a file with a line NAME:HASH for each account, as `pointsmith password NAME` prints it",
        ) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, secret = line.strip().partition(":")
        if not _is_hash(secret):
            raise UserError(
                f"Line {number} of {path.name} is no account",
                expected="NAME:HASH; passwords are not kept in files as they are",
                remedy="Make the line with `pointsmith password NAME`",
            )
        found[_checked_name(name)] = secret
    if not found:
        raise UserError(f"{path.name} has no account", remedy="Make one with `pointsmith password NAME`")
    return found
