"""Who a visitor is, which runs are his, and which files of this machine he may name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fastapi import Request
from gradio.context import LocalContext

from ..core.config import RunConfig
from ..core.data.config import DataConfig, with_paths
from ..core.data.lists import listed_files
from ..core.errors import UserError
from ..worker.connection import is_local
from ..worker.own_runs import NOBODY, OwnRuns
from ..worker.store import RunStore
from .accounts import Accounts
from .start_token import TOKEN, StartToken

AUTH = "POINTSMITH_AUTH"
"""The environment variable with `NAME:PASSWORD`, or the path of a file of accounts (see `accounts`)."""
Door = Literal["open", "accounts", "oauth"]
_UPLOAD = re.compile(r"[0-9a-f]{32}")


@dataclass
class Access:
    """The rules of one page. `roots` None: a visitor may name any file that this process can read.

    `door` is open (everybody is the same owner), `accounts` (name and password) or `oauth` (Hugging Face, on Spaces).
    """

    uploads: Path
    door: Door = "open"
    accounts: Accounts = field(default_factory=Accounts)
    roots: tuple[Path, ...] | None = None
    token: StartToken = field(default_factory=StartToken)
    """What everybody must know who uses an open page; falsy: nothing."""

    @property
    def asks(self) -> bool:
        """Whether a visitor must show who they are, or that they know the token."""
        return self.door != "open" or bool(self.token)

    def visitor(self, request: Request) -> str | None:
        """The name of whoever sent this request; None: he may not enter at all."""
        if self.door == "accounts":
            return self.accounts.name_of(request)
        if self.door == "oauth":
            return _hugging_face(request.scope.get("session") or {})
        return None if self.token and not self.token.admits(request) else ""

    def owner(self) -> str | None:
        """Whose runs whoever sent the event at hand may see; None: everybody's, as nobody has a name.

        Outside an event, and without a name where names are asked for, that is nobody's.
        """
        if self.door == "open":
            return None
        asking = LocalContext.request.get(None)
        return (asking.username if asking is not None else None) or NOBODY

    def runs(self, store: RunStore) -> OwnRuns:
        """The store as the visitor of each event may see it."""
        return OwnRuns(store, self.owner)

    def runs_of(self, store: RunStore, visitor: str | None) -> OwnRuns:
        """The store as this visitor may see it."""
        return OwnRuns(store, lambda: None if self.door == "open" else visitor or NOBODY)

    def room(self) -> str:
        """A folder's name for what the visitor of the event at hand keeps beside runs; '' where all are one."""
        owner = self.owner()
        return "" if owner is None else self.room_of(owner)

    @staticmethod
    def room_of(owner: str) -> str:
        """The same for an owner with a name."""
        return f"of-{hashlib.sha256(owner.encode()).hexdigest()[:24]}"

    def check_place(self, path: Path) -> None:
        """Refuse a file that a visitor may not name: UserError unless it is an upload or below an allowed folder."""
        if self.roots is None:
            return
        try:
            place = path.expanduser().resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a name too long, of no user, or with a NUL
            raise UserError("This is the path of no file", got=str(path), remedy="Check its spelling") from error
        if not self._allowed(place):
            raise UserError(
                "This place may not be used from the page",
                got=str(path),
                expected="an upload, or a place below a folder that this server allows" if self.roots else "an upload",
                remedy="Upload the file, or ask whoever runs this server to add its folder with --data-root",
            )

    def check_data(self, data: DataConfig) -> None:
        """Refuse a data set that names a place which a visitor may not name. UserError."""
        if self.roots is not None:
            with_paths(data, self._checked)
            for file in listed_files(data):
                self._checked(file)
            for repository in _repositories(data.model_dump(mode="json")):
                # `owner/name` of the Hub, or a folder here: what exists here is read from here.
                if repository.startswith(("/", ".", "~")) or Path(repository).exists():
                    self.check_place(Path(repository))

    def check(self, config: RunConfig) -> None:
        """Refuse a run that names such a place. UserError."""
        self.check_data(config.data)
        weights = config.backbone.weights
        if self.roots is not None and weights not in ("pretrained", "random", "included"):
            self.check_place(Path(weights))

    def _checked(self, path: Path) -> Path:
        self.check_place(path)
        return path

    def _allowed(self, place: Path) -> bool:
        uploads = self.uploads.resolve()
        if place.is_relative_to(uploads):
            # The folder's random name is what makes an upload its owner's; the folder of all of them is nobody's.
            first, *_ = (*place.relative_to(uploads).parts, "")
            return _UPLOAD.fullmatch(first) is not None
        return any(place.is_relative_to(root.expanduser().resolve()) for root in self.roots or ())


def _repositories(content: object) -> Iterable[str]:
    """Every data set of the Hub that a configuration names, in parts of it too."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "repository" and isinstance(value, str):
                yield value
            yield from _repositories(value)


def _hugging_face(session: Mapping[str, object]) -> str:
    """The owner that a user signed in with Hugging Face is (by number: names may change), '' for others."""
    from gradio.oauth import _get_valid_oauth_info_from_session  # what Gradio's own OAuthProfile is made from

    info = _get_valid_oauth_info_from_session(dict(session))
    user = info.get("userinfo") if info else None
    number = user.get("sub") if isinstance(user, dict) else None
    return f"hf:{number}" if number else ""


def on_spaces() -> bool:
    """Whether this is a Space of Hugging Face."""
    return os.environ.get("SYSTEM") == "spaces"


def access_of(
    data_dir: Path,
    host: str,
    *,
    auth: Iterable[str] = (),
    no_auth: bool = False,
    data_roots: Iterable[Path] = (),
    token: bool = False,
    token_file: Path | None = None,
) -> Access:
    """Return the rules for a page that listens on `host`. UserError for a page open to a network without a login.

    `auth` holds `NAME:PASSWORD`; without it POINTSMITH_AUTH counts, which is then taken out of the environment, so
    that no worker inherits it.
    """
    given = list(auth) or [one for one in (os.environ.get(AUTH, ""),) if one]
    os.environ.pop(AUTH, None)
    accounts = Accounts.read(given)
    door: Door = "accounts" if accounts.hashes else "oauth" if _oauth_wanted() else "open"
    local = is_local(host)
    start_token = _start_token(token, token_file)
    if start_token and (no_auth or door != "open"):
        raise UserError(
            f"A start token and {'--no-auth' if no_auth else 'a login'} contradict each other",
            remedy="Give one of them",
        )
    if door == "open" and not start_token and not local and not no_auth:
        raise UserError(
            f"The page would be open to everybody who reaches {host}, and they could start runs and read this "
            "machine's files",
            expected="a login, or an address of this machine only",
            remedy=f"Give --token or --auth NAME:PASSWORD, or set {AUTH}; keep --host 127.0.0.1 and use an SSH tunnel; "
            "or say --no-auth when something else guards the door",
        )
    if no_auth and door != "open":
        raise UserError("--no-auth and a login contradict each other", remedy="Give one of them")
    roots = tuple(data_roots)
    whole = door == "open" and local and not roots
    return Access(data_dir / "uploads", door, accounts, None if whole else roots, start_token)


def _start_token(wanted: bool, file: Path | None) -> StartToken:
    """Return the page's start token, and take the operator's own out of the environment."""
    own = os.environ.pop(TOKEN, "")
    if file is not None:
        return StartToken.read_file(file)
    if own:
        return StartToken.read(own)
    return StartToken.random() if wanted else StartToken()


def _oauth_wanted() -> bool:
    """Whether this is a Space whose card says `hf_oauth: true`. Elsewhere Gradio would only pretend."""
    return on_spaces() and bool(os.environ.get("OAUTH_CLIENT_ID"))
