"""Clouds to try an adapter on: objects its run never trained on, from the generator or from its own test part."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from threading import Lock

import numpy as np

from ..core.config import RunConfig
from ..core.data.clouds import Clouds
from ..core.data.config import DemoData
from ..core.data.load import load
from ..core.data.procedural import CLASSES, TEST_SPLIT, demo_faults, make_cloud
from ..core.errors import UserError


@dataclass(frozen=True)
class Sample:
    """A cloud (N, 3), the class it is of, and where it comes from."""

    points: np.ndarray
    truth: str
    name: str


class Samples:
    """Draws samples; the test clouds of the data set used last stay in memory. Calls from threads wait."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loaded: tuple[str, Clouds, tuple[str, ...]] | None = None

    def own(self, run: RunConfig | None) -> bool:
        """Return whether samples come from files of the run's own data set; otherwise the generator makes them."""
        return run is not None and not isinstance(run.data, DemoData)

    def draw(self, run: RunConfig | None, name: str | None) -> Sample:
        """Return a test cloud of class `name` (None: any). UserError when the run's data cannot be read."""
        if run is None or not self.own(run):
            data = run.data if run and isinstance(run.data, DemoData) else DemoData()
            label = CLASSES.index(name) if name in CLASSES else secrets.randbelow(len(CLASSES))
            number = secrets.randbelow(2**31)
            seed, faults = (data.seed, TEST_SPLIT, number), demo_faults(data.scan)
            points = make_cloud(label, seed, data.preparation.points, faults=faults)
            return Sample(points, CLASSES[label], f"generated {CLASSES[label]} #{number}")
        clouds, classes = self._test_clouds(run)
        fits = np.flatnonzero(clouds.labels == classes.index(name)) if name in classes else np.arange(len(clouds))
        if not len(fits):
            raise UserError(f"The test clouds hold no {name}", remedy="Choose another class")
        index = int(fits[secrets.randbelow(len(fits))])
        return Sample(clouds.points[index], classes[int(clouds.labels[index])], clouds.names[index])

    def _test_clouds(self, run: RunConfig) -> tuple[Clouds, tuple[str, ...]]:
        key = run.data.model_dump_json()
        with self._lock:
            if self._loaded is None or self._loaded[0] != key:
                dataset = load(run.data, least=run.backbone.least_points)
                if dataset.test is None:
                    raise UserError("This data set has no test clouds", remedy="Upload a mesh or a cloud instead")
                self._loaded = (key, dataset.test, dataset.classes)
            return self._loaded[1], self._loaded[2]
