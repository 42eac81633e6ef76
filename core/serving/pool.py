"""The adapters in memory, the few backbones below them, and what to forget when memory has a limit."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

import torch

from ..adapter_gate import checked_copy
from ..adapters import WEIGHTS_NAME, AdapterConfig, read_adapter_config, read_adapter_weights
from ..config import RunConfig
from ..errors import UserError
from ..models.layouts import check_names
from .family import Family, Held
from .resident import Resident, identity

MOST_BYTES = 2 * 2**30
"""What backbones and adapters may take together, unless said otherwise: a few thousand adapters."""


@dataclass(frozen=True)
class Place:
    """Where an adapter is read from: its folder, and its backbone's file where that lies elsewhere on this machine.

    `fold`: it is made a part of its backbone's layers as far as its method allows, see `Family.fold`. Then it is
    answered faster alone, never together with others, and takes the memory of the layers that it is in.
    `untrusted`: it did not come from this installation, and is read through the gate of `adapter_gate`.
    """

    folder: Path
    backbone_weights: str | None = None
    fold: bool = False
    untrusted: bool = False


class TrunkPool:
    """Loads each backbone once and keeps adapters beside it; the least recently used are forgotten, and read again.

    Calls from several threads wait for each other while files are read.
    """

    def __init__(self, device: torch.device, *, precision: str = "float32", most_bytes: int = MOST_BYTES) -> None:
        self.device, self.precision, self.most_bytes = device, precision, most_bytes
        self._lock = RLock()
        self._adapters: OrderedDict[Place, tuple[Family, Held]] = OrderedDict()
        self._families: dict[str, Family] = {}
        self._residents: dict[str, Resident] = {}

    def find(self, place: Place) -> tuple[Family, Held]:
        """Return an adapter and its family, read from its folder where it is not in memory.

        UserError when a file is missing or damaged, or the backbone is not the one that the adapter was trained on.
        """
        with self._lock:
            if place not in self._adapters:
                self._adapters[place] = self._read(place)
                self._forget()
            self._adapters.move_to_end(place)
            return self._adapters[place]

    @property
    def bytes(self) -> int:
        """What backbones and adapters take."""
        with self._lock:
            adapters = sum(held.bytes for _, held in self._adapters.values())
            return adapters + sum(resident.bytes for resident in self._residents.values())

    @property
    def counts(self) -> tuple[int, int]:
        """How many (backbones, adapters) are in memory."""
        with self._lock:
            return len(self._residents), len(self._adapters)

    def _read(self, place: Place) -> tuple[Family, Held]:
        source = (
            checked_copy(place.folder, place.folder.name, backbone_given=place.backbone_weights is not None)
            if place.untrusted
            else nullcontext(place.folder)
        )
        with source as folder:
            config, state = read_adapter_config(folder), read_adapter_weights(folder)
        run = config.run
        if place.backbone_weights:
            backbone = run.backbone.model_copy(update={"weights": place.backbone_weights})
            run = run.model_copy(update={"backbone": backbone})
        family = self._family(run, config)
        check_names(family.wanted, state, [], WEIGHTS_NAME)
        held = family.hold(config, state)
        if place.fold:
            own = Family(family.resident, run, family.sizes, precision=self.precision, device=self.device)
            if own.fold(held):
                return own, held
        return family, held

    def _family(self, run: RunConfig, config: AdapterConfig) -> Family:
        sizes = len(config.classes), sum(map(len, config.part_names))
        backbone = identity(run)
        resident = self._residents.get(backbone)
        if resident is None:
            resident = Resident.load(run, self.device)
        if resident.loaded.sha256 != config.backbone.sha256:
            raise UserError(
                f"The backbone {resident.loaded.origin} is not the one this adapter was trained on",
                got=resident.loaded.sha256[:12],
                expected=f"weights with the hash {config.backbone.sha256[:12]}… ({config.backbone.origin})",
                remedy="Give the path of the right weight file",
            )
        self._residents[backbone] = resident
        parts = (run.method.model_dump_json(), run.head.model_dump_json(), run.batchnorm, run.data.answers, sizes)
        key = f"{backbone} {parts}"
        if key not in self._families:
            self._families[key] = Family(resident, run, sizes, precision=self.precision, device=self.device)
        return self._families[key]

    def _forget(self) -> None:
        """Forget adapters, longest unused first, until the rest fits; then what no adapter needs any more."""
        while len(self._adapters) > 1 and self.bytes > self.most_bytes:
            self._adapters.popitem(last=False)
            used = {id(family) for family, _ in self._adapters.values()}
            self._families = {key: one for key, one in self._families.items() if id(one) in used}
            needed = {id(family.resident) for family, _ in self._adapters.values()}
            self._residents = {key: one for key, one in self._residents.items() if id(one) in needed}
