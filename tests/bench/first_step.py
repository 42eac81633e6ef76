"""From queueing the quick look to its first training step: `python -m tests.bench.first_step [--runs 3]`.

Starts the page with one worker on a folder of its own, and reads the run's events as the page does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from pointsmith.core.config import RunConfig
from pointsmith.worker.service import Service
from pointsmith.worker.store import RunStore

from tests.support.app_process import App


def once(store: RunStore) -> dict[str, float]:
    """Return after how many seconds each stage began, and the first step was there; the run is then cancelled."""
    begun = time.monotonic()
    run = store.create(RunConfig())
    seen: dict[str, float] = {}
    cursor = "0"
    while "step" not in seen:
        events, cursor = store.events(run.id, cursor)
        for event in events:
            name = event.get("stage", "step") if event["kind"] in ("stage", "step") else None
            if name:
                seen.setdefault(name, time.monotonic() - begun)
        time.sleep(0.02)
    store.cancel(run.id)
    while store.get(run.id).state != "cancelled":
        time.sleep(0.1)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, App(Path(folder)) as app, Service(app.data, 0) as service:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; seconds from queueing")
        for _ in range(options.runs):
            print(", ".join(f"{name} {after:.2f}" for name, after in once(service.store).items()), flush=True)


if __name__ == "__main__":
    main()
