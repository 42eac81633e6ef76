"""The start token: one secret in the printed address, for a page on a machine that several people use."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response

from ..core.errors import UserError

TOKEN = "POINTSMITH_TOKEN"
"""The environment variable with a token of the operator's choice."""
_LEAST = 16


@dataclass(frozen=True, repr=False)
class StartToken:
    """Who knows it may use the page. It comes once in the address, then as a cookie, or in `Authorization: Bearer`.

    The cookie holds a value that is made from the token, not the token. `show` says that the start prints the token,
    because nobody knows it otherwise. Falsy without a value: no token is asked for.
    """

    value: str = ""
    show: bool = False

    def __bool__(self) -> bool:
        return bool(self.value)

    @classmethod
    def random(cls) -> StartToken:
        """Return a new token of 256 random bits."""
        return cls(secrets.token_urlsafe(32), show=True)

    @classmethod
    def read(cls, value: str) -> StartToken:
        """Return the operator's own token. UserError for one that is short or does not fit into an address."""
        value = value.strip()
        if len(value) < _LEAST or not all(one.isascii() and (one.isalnum() or one in "-_.~") for one in value):
            raise UserError(
                "The token of the page does not fit", expected=f"{_LEAST} or more letters, digits and . _ ~ -"
            )
        return cls(value)

    @classmethod
    def read_file(cls, path: Path) -> StartToken:
        """Return the token in a file. UserError where there is none."""
        try:
            with path.expanduser().open(encoding="utf-8") as file:
                return cls.read(file.read(4096))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                "--token-file cannot be read", got=path.name, expected="a text file with a token"
            ) from error

    def matches(self, value: str) -> bool:
        """Whether this is the token, compared in constant time."""
        return bool(self.value) and hmac.compare_digest(value.encode(), self.value.encode())

    def admits(self, request: Request) -> bool:
        """Whether a request carries the token or its cookie."""
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.matches(credentials.strip()):
            return True
        return hmac.compare_digest(request.cookies.get(self._cookie, "").encode(), self._proof.encode())

    def set_cookie(self, response: Response, *, secure: bool) -> None:
        """Let the browser that gets this response in, until it is closed."""
        response.set_cookie(self._cookie, self._proof, httponly=True, samesite="strict", secure=secure)

    @property
    def _cookie(self) -> str:
        # Cookies do not tell ports apart: two pages of one machine need two names.
        return f"pointsmith-token-{hashlib.sha256(self._proof.encode()).hexdigest()[:8]}"

    @property
    def _proof(self) -> str:
        return hmac.new(self.value.encode(), b"pointsmith cookie", hashlib.sha256).hexdigest()
