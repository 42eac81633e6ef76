"""Memory of a training step over batch sizes: the table of `pointsmith bench mem_slope`, and the plot beside it.

    python tests/bench/memory.py OUT.svg [LINES.json [SMALL LARGE]]

Lines are kept in LINES.json as they are measured, through batches of SMALL and LARGE; those that are there are not
measured again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from pointsmith.core.bench.mem_slope import BATCHES, LARGE, Job, Line, jobs, measured, plot

SHOWN = {(mode, "float32") for mode in ("reference", "fast", "recompute", "two-phase")}


def main() -> None:
    out, kept = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "memory.json")
    small, large = (int(one) for one in sys.argv[3:5]) if len(sys.argv) > 4 else BATCHES
    found = json.loads(kept.read_text()) if kept.is_file() else []
    lines = [Line(Job(**one["job"]), tuple(one["batches"]), tuple(one["peaks"])) for one in found]
    for job in jobs(False):
        if any(line.job == job for line in lines):
            continue
        lines.append(line := measured(job, (small, large), 1))
        told = f"{line.slope / 1e6:8.3f} MB each, {line.at(LARGE) / 2**30:7.3f} GiB"
        print(f"{line.job.method:6} {line.name:40} {told}", flush=True)
        kept.write_text(json.dumps([asdict(one) for one in lines]))
    plot([line for line in lines if (line.job.mode, line.job.precision) in SHOWN], out)


if __name__ == "__main__":
    main()
