"""The adapters a visitor may choose from: of finished runs, pulled from the Hub, shipped with the package."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..core.adapter_gate import require_backbone
from ..core.adapters import AdapterConfig, read_adapter_config
from ..core.config import RunConfig, parse_config
from ..core.data.config import DemoData
from ..core.errors import UserError
from ..core.hub.client import Hub
from ..core.hub.place import HubId, hub_id
from ..core.hub.pull import Unreadable, kept, pull, remove_unreadable, unreadable
from . import pieces
from .theme import ASSETS

if TYPE_CHECKING:
    from ..worker.own_runs import OwnRuns
    from ..worker.run import Run
    from ..worker.store import RunStore

SHOWN = 200
_KINDS = ("method", "backbone", "data")
FRESH_SECONDS = 300.0
"""So long a branch of the Hub is not asked for again."""
EXAMPLES = ASSETS / "examples"


@dataclass(frozen=True)
class Found:
    """Where an adapter lies, the backbone's own file where it needs one, and its run where its data may be sampled.

    `trusted`: it was made by a run of this installation, or ships with it. All others are checked before loading.
    """

    folder: Path
    weights: str | None = None
    run: RunConfig | None = None
    trusted: bool = False


@dataclass(frozen=True)
class Entry:
    """An adapter as the gallery shows it."""

    key: str
    name: str
    source: str
    about: str
    score: str = ""
    problem: str = ""
    """Why it cannot be read; empty where it can."""


class Shelf(Protocol):
    """A kind of adapters. Both functions see only what the visitor of the event at hand may."""

    def listed(self) -> list[tuple[str, str]]:
        """Return (title, key) of each, in the order in which they are offered."""
        ...

    def entries(self) -> list[Entry]:
        """Return the same for the gallery."""
        ...

    def find(self, key: str) -> Found | None:
        """Return the adapter of a key, None where keys of this form are not this shelf's. UserError."""
        ...


class RunShelf:
    """The adapters of finished runs, newest first; keys are the runs' ids."""

    def __init__(self, store: RunStore | OwnRuns) -> None:
        self.store = store

    def listed(self) -> list[tuple[str, str]]:
        return [(_title(run), run.id) for run in self.store.list(SHOWN) if run.state == "succeeded"]

    def entries(self) -> list[Entry]:
        return [
            Entry(
                run.id,
                run.name,
                "A finished run",
                " · ".join(
                    str((run.config.get(part) or {}).get("kind", "?")) for part in ("method", "backbone", "data")
                ),
                pieces.result(run.result or {}),
            )
            for run in self.store.list(SHOWN)
            if run.state == "succeeded"
        ]

    def find(self, key: str) -> Found | None:
        if "/" in key or ":" in key:
            return None
        run = self.store.get(key)
        place = self.store.bring(run, str((run.result or {}).get("adapter") or "adapter"))
        return Found(place, own_weights(run), parse_config(run.config), trusted=True)


def _title(run: Run) -> str:
    return f"{run.name} · {pieces.result(run.result or {})} · {pieces.ago(run.finished or run.created)}"


def own_weights(run: Run) -> str | None:
    """Return the backbone's weight file that a run was told to use, None for a published one."""
    weights = run.config.get("backbone", {}).get("weights")
    return weights if weights not in (None, "pretrained", "random", "included") else None


@dataclass
class HubShelf:
    """What the visitor pulled from the Hub; a key is `owner/name[@revision]`, and is pulled when it is asked for.

    `login` and `place` say with which login, and to which folder, for the visitor of the event at hand. `fixed` are
    ids that are offered from the start.
    """

    login: Callable[[], Hub]
    place: Callable[[], Path]
    fixed: tuple[HubId, ...] = ()
    require_room: Callable[[int], None] = lambda count: None
    """Raises UserError where a visitor who has so many pulled adapters may not pull another."""
    _seen: dict[tuple[Path, str], tuple[float, Found]] = field(default_factory=dict)

    def listed(self) -> list[tuple[str, str]]:
        here = {str(one.id): pulled_title(one.id, one.config) for one in kept(self.place())}
        offered = {str(one): here.pop(str(one), str(one)) for one in self.fixed}
        return [(title, key) for key, title in (offered | ({} if self.fixed else here)).items()]

    def entries(self) -> list[Entry]:
        return [
            Entry(str(one.id), one.id.name, f"Pulled, {one.id.revision[:7]}", about(one.config), _score(one.config))
            for one in kept(self.place())
        ] + [Entry("", entry.name, "Unreadable", "", problem=entry.reason) for entry in self.unreadable()]

    def unreadable(self) -> list[Unreadable]:
        """Return the pulled adapters that cannot be read, with the reason of each."""
        return unreadable(self.place())

    def remove(self, name: str) -> None:
        """Delete a pulled adapter that cannot be read. UserError."""
        remove_unreadable(name, self.place())

    def find(self, key: str) -> Found | None:
        wanted = hub_id(key)
        if wanted is None:
            return None
        if self.fixed and wanted not in self.fixed:
            raise UserError("This page does not offer that adapter", got=key)
        place = self.place()
        asked, found = self._seen.get((place, key), (0.0, None))
        if found is None or (not wanted.pinned and time.monotonic() - asked > FRESH_SECONDS):
            here = kept(place)
            if wanted not in [one.id for one in here]:
                self.require_room(len(here))
            got = pull(wanted, hub=self.login(), shelf=place)
            config = read_adapter_config(got.folder)
            require_backbone(config, got.id.name)
            found = Found(got.folder, None, _sampled(config))
            self._seen[place, key] = (time.monotonic(), found)
        return found


class ExampleShelf:
    """The adapters that ship with the package; a key is `example:<folder>`."""

    def listed(self) -> list[tuple[str, str]]:
        return [(_example_title(place), f"example:{place.name}") for place in _examples()]

    def entries(self) -> list[Entry]:
        found = [(place, read_adapter_config(place)) for place in _examples()]
        return [
            Entry(f"example:{place.name}", place.name.replace("-", " "), "Example", about(config), _score(config))
            for place, config in found
        ]

    def find(self, key: str) -> Found | None:
        if not key.startswith("example:"):
            return None
        place = next((one for one in _examples() if f"example:{one.name}" == key), None)
        if place is None:
            raise UserError("There is no such example", got=key)
        return Found(place, None, _sampled(read_adapter_config(place)), trusted=True)


def _examples() -> list[Path]:
    return sorted(place.parent for place in EXAMPLES.glob("*/adapter_config.json"))


def _example_title(place: Path) -> str:
    config = read_adapter_config(place)
    return f"Example: {place.name.replace('-', ' ')} · {pieces.percent(config.metrics.get('test_accuracy'))}"


def _sampled(config: AdapterConfig) -> RunConfig | None:
    """Return the run where its data are generated; a stranger's files are not here."""
    return config.run if isinstance(config.run.data, DemoData) else None


def about(config: AdapterConfig) -> str:
    """Return method, backbone, data and number of classes in a few words."""
    kinds = (config.adapter_type, config.backbone.kind, config.run.data.kind, f"{len(config.classes)} classes")
    return " · ".join(kinds)


def _score(config: AdapterConfig) -> str:
    return pieces.result(config.metrics) if config.metrics.get("test_accuracy") is not None else ""


def pulled_title(one: HubId, config: AdapterConfig) -> str:
    """Return how a pulled adapter is offered: its name, its commit, and the score that its maker tells."""
    said = _score(config)
    return f"{one.name} @ {one.revision[:7]}" + (f" · {said}" if said else "")


@dataclass(frozen=True)
class Shelves:
    """Several shelves as one."""

    shelves: Sequence[Shelf]

    def listed(self) -> list[tuple[str, str]]:
        return [one for shelf in self.shelves for one in shelf.listed()]

    def entries(self) -> list[Entry]:
        return [one for shelf in self.shelves for one in shelf.entries()]

    def find(self, key: str) -> Found | None:
        for shelf in self.shelves:
            if (found := shelf.find(key)) is not None:
                return found
        raise UserError("There is no such adapter", got=key, expected="one of the list, or OWNER/NAME on the Hub")
