"""The Hub as our code speaks to it: with a login that is never written anywhere, and failures as one clear sentence."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import UserError
from ..models.download import broken

LIBRARY = "pointsmith"
FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RuntimeError)
"""What huggingface_hub raises: a plain failure of the network is httpx2's own; LFS uploads wrap theirs."""


@dataclass(frozen=True)
class Hub:
    """The Hub, as one login sees it.

    `token` None takes this machine's login (`HF_TOKEN`, or what `hf auth login` keeps) at each request; False goes
    without; a text is a visitor's own. It lives in this object only, and shows in no `repr`.
    """

    token: str | bool | None = field(default=None, repr=False)
    endpoint: str | None = None
    """None: `HF_ENDPOINT`, or huggingface.co."""

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=self.endpoint, token=self.token, library_name=LIBRARY)

    @property
    def address(self) -> str:
        """The Hub's own address."""
        return self.api.endpoint

    def logged_in(self) -> bool:
        """Whether there is a token to go with."""
        return bool(self.token) if self.token is not None else get_token() is not None

    def who(self) -> str:
        """Return the login's name. UserError without one, or when the Hub does not know it."""
        if not self.logged_in():
            raise UserError("There is no login for the Hub here", remedy=_LOG_IN)
        with explained("asking the Hub who is logged in"):
            api: Any = self.api
            return str(api.whoami()["name"])


_LOG_IN = (
    "Run `hf auth login` on this machine or set HF_TOKEN, with a token that may write; on a Space sign in at the top"
)


@contextmanager
def explained(doing: str, name: str = "") -> Generator[None, None, None]:
    """Turn whatever the client raises inside into a UserError; `doing` is a part of a sentence."""
    try:
        yield
    except UserError:
        raise
    except FAILURES as error:
        raise explain_failure(error, doing, name) from error


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error, where there is one."""
    cause = root(error)
    return cause.response.status_code if isinstance(cause, HfHubHTTPError) else None


def root(error: BaseException) -> BaseException:
    """Return what an error of an upload wraps."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def transient(error: BaseException) -> bool:
    """Whether trying again may help: the network, or a server that is overloaded."""
    cause = root(error)
    if isinstance(cause, httpx2.TransportError):
        return True
    return status_of(error) in (408, 429, 500, 502, 503, 504)


def explain_failure(error: BaseException, doing: str, name: str = "") -> UserError:
    """Return the sentence for an error of the client; no part of it can hold a token."""
    cause, status = root(error), status_of(error)
    said = f"{doing[0].upper()}{doing[1:]} failed"
    if isinstance(cause, OfflineModeIsEnabled):
        return UserError(f"{said}: HF_HUB_OFFLINE is set", remedy="Unset it to use the network")
    if isinstance(cause, GatedRepoError):
        return UserError(f"{said}: {name} is gated", remedy="Accept its terms on its page, with the account used here")
    if isinstance(cause, RepositoryNotFoundError):
        return UserError(
            f"{said}: there is no {name or 'such repository'}, or it is private and this login may not see it",
            remedy="Check the name, and log in if it is private",
        )
    if isinstance(cause, RevisionNotFoundError):
        return UserError(f"{said}: {name} has no such revision", remedy="Leave the revision out, or look it up")
    if isinstance(cause, EntryNotFoundError):
        return UserError(f"{said}: a file is missing there", remedy="Look at the repository's list of files")
    if isinstance(cause, HFValidationError):
        return UserError(f"{said}: the Hub does not allow this name", got=name, expected="OWNER/NAME, at most 96 long")
    by_status = {
        401: ("the Hub does not accept the token", _LOG_IN),
        402: ("the Hub asks for a paid plan", "Choose the free hardware (cpu-basic)"),
        403: (f"this login may not write to {name}", "Use a token with the right to write, and a name of your own"),
        409: (f"{name} is in the way", "Choose another name"),
        412: (f"somebody else changed {name} meanwhile; nothing was written", "Look at the change, then push again"),
        413: ("the Hub finds it too large", ""),
        429: ("the Hub asks to wait: too many requests", "Try again in some minutes"),
    }
    if status in by_status:
        why, remedy = by_status[status]
        return UserError(f"{said}: {why} (HTTP {status})", remedy=remedy or None)
    if status is not None:
        return UserError(f"{said}: the Hub answered HTTP {status}", remedy="Try again later")
    if isinstance(cause, httpx2.HTTPError):
        return UserError(f"{said}: {broken(cause)}", remedy="Check the network and try again")
    text = str(cause).strip().splitlines()
    return UserError(f"{said} ({text[0][:300] if text else type(cause).__name__})")
