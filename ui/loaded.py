"""Adapters that answer, loaded once for all who ask: of the shelves, or of a folder on this server."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from ..core.config import RunConfig
from ..core.errors import UserError
from ..core.predict import Predictor
from .shelf import Found, Shelf


@dataclass(frozen=True)
class Chosen:
    """A loaded adapter, and the run it comes from where that is known (its data may be sampled)."""

    predictor: Predictor
    run: RunConfig | None


def alone(found: Found, device: str = "cpu") -> Predictor:
    """Load an adapter with a backbone of its own."""
    return Predictor.load(found.folder, device=device, backbone_weights=found.weights, untrusted=not found.trusted)


class Adapters:
    """The last `keep` adapters stay in memory. Calls from threads wait for the one that loads.

    `load` makes an adapter ready; `elsewhere` is asked first for what a visitor typed in a menu's place.
    """

    def __init__(
        self,
        shelf: Shelf,
        keep: int,
        load: Callable[[Found], Predictor] = alone,
        elsewhere: Callable[[str], Found] | None = None,
    ) -> None:
        self.shelf = shelf
        self._keep, self._make, self._elsewhere = keep, load, elsewhere
        self._loaded: OrderedDict[Path, Chosen] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str | None, typed: str = "") -> Chosen:
        """Return what was typed, or else the adapter of a shelf's key; UserError where there is none."""
        typed = (typed or "").strip()
        if not typed and not key:
            raise UserError("There is no adapter yet", remedy="Finish a run under Train, or name one of the Hub")
        # Asked at each call, though the adapter may be in memory: it may be another visitor's.
        found = self._elsewhere(typed) if typed and self._elsewhere else self.shelf.find(str(key))
        if found is None:
            raise UserError("There is no such adapter", got=str(key))
        with self._lock:
            if found.folder not in self._loaded:
                self._loaded[found.folder] = Chosen(self._make(found), found.run)
                while len(self._loaded) > self._keep:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(found.folder)
            return self._loaded[found.folder]
