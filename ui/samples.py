"""Inputs to try an adapter on: what its run never trained on, from the generator or from its own test part."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from threading import Lock

import numpy as np

from ..core.config import RunConfig
from ..core.data.apart import load_apart
from ..core.data.clouds import Clouds, lying
from ..core.data.config import DemoData
from ..core.data.dataset import Dataset, Split
from ..core.data.files import read_untrusted_image
from ..core.data.images import Images
from ..core.data.part_clouds import PartClouds, first_parts
from ..core.data.procedural import CLASSES, TEST_SPLIT, demo_faults, make_cloud
from ..core.errors import UserError


@dataclass(frozen=True)
class Sample:
    """A cloud (N, 3) or an image (H, W, 3) uint8, the class it is of, and where it comes from.

    `parts` (N,), where points are labelled, counts from 0 through the parts of this class.
    """

    given: np.ndarray
    truth: str
    name: str
    parts: np.ndarray | None = None


class Samples:
    """Draws samples; the test part of the data set used last stay in memory. Calls from threads wait."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loaded: tuple[str, Dataset] | None = None

    def own(self, run: RunConfig | None) -> bool:
        """Return whether samples come from files of the run's own data set; otherwise the generator makes them."""
        return run is not None and not isinstance(run.data, DemoData)

    def draw(self, run: RunConfig | None, name: str | None) -> Sample:
        """Return a test input of class `name` (None: any). UserError when the run's data cannot be read."""
        if run is None or not self.own(run):
            data = run.data if run and isinstance(run.data, DemoData) else DemoData()
            label = CLASSES.index(name) if name in CLASSES else secrets.randbelow(len(CLASSES))
            number = secrets.randbelow(2**31)
            seed, faults = (data.seed, TEST_SPLIT, number), demo_faults(data.scan)
            points = make_cloud(label, seed, data.preparation.points, faults=faults)
            return Sample(points, CLASSES[label], f"generated {CLASSES[label]} #{number}")
        dataset, part = self.part(run, "test")
        classes = dataset.classes
        fits = np.flatnonzero(part.labels == classes.index(name)) if name in classes else np.arange(len(part))
        if not len(fits):
            raise UserError(f"The test {part.noun} hold no {name}", remedy="Choose another class")
        index = int(fits[secrets.randbelow(len(fits))])
        label = int(part.labels[index])
        own = part.parts[index] - first_parts(dataset.part_names)[label] if isinstance(part, PartClouds) else None
        return Sample(
            _given(part, index, getattr(run.data.preparation, "up", "y")),
            classes[label],
            part.names[index],
            own,
        )

    def part(self, run: RunConfig, split: str) -> tuple[Dataset, Split]:
        """Return a run's data set and its `test` or `validation` part; UserError when it cannot be read or has none."""
        key = run.data.model_dump_json()
        with self._lock:
            if self._loaded is None or self._loaded[0] != key:
                self._loaded = (key, load_apart(run.data, least=run.backbone.least_points))
            dataset = self._loaded[1]
        part = dataset.test if split == "test" else dataset.validation
        if part is None:
            noun = dataset.train.noun
            raise UserError(f"This data set has no {split} {noun}", remedy="Upload a file of yours instead")
        return dataset, part


def _given(part: Split, index: int, up: str) -> np.ndarray:
    """Return one input as a person would give it: the points of a cloud, the whole picture of an image."""
    if isinstance(part, Images):
        return read_untrusted_image(part.files[index])
    assert isinstance(part, Clouds)
    return lying(part.points[index], up)
