"""Adapters that answer, loaded once for all who ask: of a finished run, or of a folder on this server."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from ..core.config import RunConfig, parse_config
from ..core.errors import UserError
from ..core.predict import Predictor
from ..worker.own_runs import OwnRuns
from ..worker.store import RunStore


@dataclass(frozen=True)
class Chosen:
    """A loaded adapter, and the run it comes from where that is known (its data may be sampled)."""

    predictor: Predictor
    run: RunConfig | None


class Adapters:
    """The last `keep` adapters stay in memory. Calls from threads wait.

    `check` is what this page's rules say of a folder on this server.
    """

    def __init__(
        self, store: RunStore | OwnRuns, keep: int = 2, check: Callable[[Path], None] = lambda _: None
    ) -> None:
        self.store = store
        self._check, self._keep = check, keep
        self._loaded: OrderedDict[str, Chosen] = OrderedDict()
        self._lock = Lock()

    def get(self, run_id: str | None, folder: str = "") -> Chosen:
        """Return the adapter of a folder, or else of a run; UserError where there is none, or it does not fit."""
        folder = (folder or "").strip()
        if not folder and not run_id:
            raise UserError("There is no adapter yet", remedy="Finish a run under Train, or name an adapter folder")
        if folder:
            self._check(Path(folder))
        # Asked at each call, though the adapter may be in memory: it may be another visitor's.
        run = None if folder else self.store.get(str(run_id))
        key = folder or str(run_id)
        with self._lock:
            if key not in self._loaded:
                if run is None:
                    chosen = Chosen(Predictor.load(Path(folder).expanduser()), None)
                else:
                    place = self.store.bring(run, str((run.result or {}).get("adapter") or "adapter"))
                    weights = run.config.get("backbone", {}).get("weights")
                    named = weights if weights not in (None, "pretrained", "random", "included") else None
                    chosen = Chosen(Predictor.load(place, backbone_weights=named), parse_config(run.config))
                self._loaded[key] = chosen
                while len(self._loaded) > self._keep:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]
