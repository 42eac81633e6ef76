"""Names and passwords: hashed with scrypt, tried a few times only, and remembered by a cookie until the evening.

A file of accounts has one `name:hash` a line, as `pointsmith password NAME` prints it, and lines that begin with #.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import ipaddress
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
"""Attempts that failed or are under way, in `_PATIENCE` seconds, from one address and on one account. Then the door
stays shut for a while."""
_LEAST = 8
_SESSIONS = 100
"""Logins of one account that last at the same time; the oldest ends first."""


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
    _tries: dict[tuple[str, str], list[float]] = field(default_factory=dict)
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
        # An unknown name is no account that could be guessed at, and names are invented faster than they expire.
        counted = {"from": _network(address), **({"of": name} if name in self.hashes else {})}
        now = self.clock()
        with self._lock:
            self._forget(now - _PATIENCE)
            if any(len(self._tries.get((how, who), ())) >= _TRIES[how] for how, who in counted.items()):
                raise UserError("Too many attempts to log in", remedy=f"Wait {_PATIENCE / 60:.0f} minutes")
            # Counted before the password is looked at: whoever tries many at once is counted for each.
            for key in counted.items():
                self._tries.setdefault(key, []).append(now)
        # An unknown name takes as long as a wrong password.
        right = matches(password, self.hashes.get(name, _DUMMY)) and name in self.hashes
        if not right:
            return None
        with self._lock:
            for key in counted.items():
                with contextlib.suppress(ValueError):
                    self._tries.get(key, []).remove(now)
            token = secrets.token_urlsafe(32)
            self._sessions = {one: kept for one, kept in self._sessions.items() if kept[1] > now}
            own = [one for one, kept in self._sessions.items() if kept[0] == name]
            for oldest in own[: max(0, len(own) + 1 - _SESSIONS)]:
                del self._sessions[oldest]
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

    def _forget(self, oldest: float) -> None:
        """Forget the attempts before this moment."""
        recent = {key: [one for one in times if one > oldest] for key, times in self._tries.items()}
        self._tries = {key: times for key, times in recent.items() if times}


def _network(address: str) -> str:
    """Return the part of an address that a client cannot choose: of an IPv6 address its network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


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
