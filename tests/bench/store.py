"""How the run store behaves when it is full: `python tests/bench/store.py --runs 10000 --points 1000000`.

Fills a private Redis (its own folder, removed afterwards) through the ledger's own moves, with configurations of real
size, then measures what the page does: listing, opening a run, a refresh. Then it puts the ended streams away and
measures again.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pointsmith.core.config import RunConfig
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.run import run_folder
from pointsmith.worker.store import RunStore, _fields
from pointsmith.worker.timeline import events_file
from pointsmith.worker.timing import Timing

LONG = 20_000
"""Points of the one long run: 1,000 epochs, with the 20 points an epoch that a trainer tells."""


def step(number: int) -> str:
    """One metric point as the trainer writes it."""
    return json.dumps(
        {
            "kind": "step", "step": number, "epoch": number // 20 + 1, "loss": 2.3 / (1 + number), "lr": 4.9e-4,
            "grad_norm": 1.2345678, "clouds_per_second": 123.456789, "eta_seconds": 1234.56789,
        }
    )  # fmt: skip


def fill(store: RunStore, runs: int, points: int) -> tuple[list[str], str]:
    """Enter ended runs with their events; the ids, and that of the long run."""
    config = json.loads(RunConfig().model_dump_json())
    short = max(1, (points - LONG) // max(1, runs - 1))
    ids: list[str] = []
    for number in range(runs):
        run_id = secrets.token_hex(12)
        folder = run_folder(store.data_dir, run_id)
        folder.mkdir(parents=True)
        record = {"id": run_id, "name": f"run {number}", "state": "queued", "config": config}
        # As `create` does, but without waiting for the disk each time.
        (folder / "run.json").write_text(json.dumps(record))
        assert store.ledger.create(run_id, _fields(record))
        ids.append(run_id)
        claim = store.ledger.claim(run_id, "bench")
        assert claim is not None
        count = LONG if number == 0 else short
        lines = [step(at) for at in range(1, count + 1)]
        for begin in range(0, count, 500):
            entries = [(1, at + 1, lines[at]) for at in range(begin, min(begin + 500, count))]
            assert store.ledger.append(claim, entries, {"step": count, "steps": count, "epoch": 1, "epochs": 1}, count)
        while store.ledger.pack(claim):
            pass
        events_file(folder, 1).write_text("".join(f"{line}\n" for line in lines))
        result = {"kind": "finished", "test_accuracy": 0.9, "adapter": "adapter"}
        assert store.ledger.finish(claim, "succeeded", result=result) == "succeeded"
    return ids, ids[0]


def timed(work: Callable[[], Any], rounds: int = 15) -> str:
    """Median and worst time of some rounds, in ms."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begun))
    return f"{statistics.median(times):.1f} | {max(times):.1f}"


def memory(store: RunStore) -> str:
    """Redis's own count."""
    found = store.ledger.redis.info("memory")
    return f"{found['used_memory'] / 2**20:.0f} MiB, {found['used_memory_rss'] / 2**20:.0f} MiB resident"


def open_run(store: RunStore, run_id: str) -> None:
    """What the page does for the first view of a run, without drawing."""
    store.get(run_id)
    store.events(run_id)
    store.log(run_id, 60)


def measure(store: RunStore, title: str, ids: list[str], long: str) -> None:
    """Print one block of the table."""
    cursor = store.events(long)[1]
    rows = {
        "list the newest 200 runs": lambda: store.list(200),
        "list 200 from the middle": lambda: store.list(200, len(ids) // 2),
        "workers and count": lambda: (store.workers(), store.count()),
        "open a run of usual length": lambda: open_run(store, ids[len(ids) // 2]),
        f"open the run of {LONG:,} points": lambda: open_run(store, long),
        "refresh with nothing new": lambda: (store.get(long), store.events(long, cursor)),
    }
    for name, work in rows.items():
        print(f"| {title}: {name} | {timed(work)} |", flush=True)


def main() -> None:
    """Fill, measure, put away, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=1_000_000)
    options = parser.parse_args()
    timing = replace(Timing(), keep_streams=-10.0)
    with tempfile.TemporaryDirectory(prefix="store-") as place, EmbeddedRedis(Path(place) / "redis") as server:
        store = RunStore(server.address.url, Path(place), timing=timing)
        begun = time.perf_counter()
        ids, long = fill(store, options.runs, options.points)
        print(f"{options.runs:,} runs and {options.points:,} points entered in {time.perf_counter() - begun:.0f} s")
        print(f"Redis: {memory(store)}, {store.ledger.redis.dbsize():,} keys")
        print("| what | median ms | worst ms |\n|---|---:|---:|")
        measure(store, "folders here", ids, long)
        far = RunStore(server.address.url, Path(place) / "far", timing=timing)
        measure(far, "folders elsewhere", ids, long)
        far.close()
        begun = time.perf_counter()
        while store.ledger.redis.zcard(store.ledger.key("ended")):
            store.tidy()
        print(f"| put all streams away | {1000 * (time.perf_counter() - begun):.0f} | |")
        measure(store, "streams put away", ids, long)
        begun = time.perf_counter()
        store.read_in()
        print(f"| look at all folders at the start | {1000 * (time.perf_counter() - begun):.0f} | |")
        print(f"Redis afterwards: {memory(store)}, {store.ledger.redis.dbsize():,} keys")
        store.close()


if __name__ == "__main__":
    main()
