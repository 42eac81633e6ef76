"""A launcher of workers as the gate needs it: `launcher.py DATA WORKERS TIMING TRAINER...`, until SIGTERM."""

from __future__ import annotations

import sys
from pathlib import Path

from pointsmith.worker.service import Service, ending_on_sigterm
from pointsmith.worker.timing import Timing

with (
    ending_on_sigterm(),
    Service(
        Path(sys.argv[1]), int(sys.argv[2]), timing=Timing.from_json(sys.argv[3]), trainer=tuple(sys.argv[4:])
    ) as s,
):
    try:
        s.wait()
    except KeyboardInterrupt:
        pass
