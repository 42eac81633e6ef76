"""Memory of a training step over batch sizes: the table of `pointsmith bench mem_slope`, and the plot beside it.

    python tests/bench/memory.py OUT.svg [LINES.json]

Lines are kept in LINES.json as they are measured; those that are there are not measured again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from pointsmith.core.bench.mem_slope import BATCHES, LARGE, Job, Line, measured, plot

SHOWN = {
    ("reference", "float32"),
    ("fast", "float32"),
    ("fast", "bf16"),
    ("recompute", "bf16"),
    ("two-phase", "float32"),
}


def main() -> None:
    out, kept = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "memory.json")
    if kept.is_file():
        found = json.loads(kept.read_text())
        lines = [Line(Job(**one["job"]), tuple(one["batches"]), tuple(one["peaks"])) for one in found]
    else:
        lines = []
        for line in measured(BATCHES, False, 1):
            lines.append(line)
            told = f"{line.slope / 1e6:8.3f} MB each, {line.at(LARGE) / 2**30:7.3f} GiB"
            print(f"{line.job.method:6} {line.name:40} {told}", flush=True)
            kept.write_text(json.dumps([asdict(one) for one in lines]))
    plot([line for line in lines if (line.job.mode, line.job.precision) in SHOWN], out)


if __name__ == "__main__":
    main()
