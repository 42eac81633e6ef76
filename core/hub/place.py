"""Where an adapter is said to be: a folder on this disk, or `owner/name[@revision]` on the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_ID = re.compile(rf"(?:hf://)?({_PART}/{_PART})(?:@([A-Za-z0-9._/-]{{1,120}}))?")
_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubId:
    """A repository of the Hub, and a branch, tag or commit of it."""

    name: str
    revision: str = "main"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return _SHA.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return self.name if self.revision == "main" else f"{self.name}@{self.revision}"


def hub_id(text: str) -> HubId | None:
    """Return the id that a text is, or None where it is none."""
    found = _ID.fullmatch(text.strip())
    if not found or "--" in found[1] or ".." in text:
        return None
    return HubId(found[1], found[2] or "main")


def require_hub_id(text: str, what: str = "An adapter on the Hub") -> HubId:
    """Return the id that a text is; UserError where it is none."""
    found = hub_id(text)
    if found is None:
        raise UserError(
            f"{what} is named by its owner and its name",
            got=text[:200],
            expected="OWNER/NAME, of letters, digits and . _ - (not at the ends)",
        )
    return found


def named_on_hub(text: str | Path) -> HubId | None:
    """Return the id that is meant where a folder or an id may stand; a folder that exists here wins."""
    path = Path(text).expanduser()
    written = text.as_posix() if isinstance(text, Path) else text
    return None if path.exists() else hub_id(written)
