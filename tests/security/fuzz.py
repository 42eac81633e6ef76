"""Attack a page for as long as wanted: `python -m tests.security.fuzz --minutes 30`, which prints what it tried.

`--of paths` sends file objects: every input of every event, every spelling; the shapes take turns. `--of files` sends
damaged files. Both are seeded, and end with status 1 where a fault was found.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from .mutations import CLOUDS, SETS, SETTINGS, damaged
from .running import Answer, inputs
from .spellings import SHAPES
from .target import Target, target


def full_product(page: Target, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Send every spelling to every input of every event, in a seeded order; yield what was sent and its faults."""
    shapes = [shape for shape in SHAPES if shape != "text" or page.door != "open"]
    attacks = list(itertools.product(inputs(page.running.events), page.paths))
    random.Random(seed).shuffle(attacks)
    for ((event, at), spelling), shape in zip(attacks, itertools.cycle(shapes)):
        value = SHAPES[shape](page.paths[spelling])
        answer = page.running.call(event, event.arguments(at, value), event_data=value)
        yield f"{event.name}[{at}], {shape}, {spelling}", page.problems(answer, value)


def damaged_files(page: Target, seed: int, at_once: int = 20) -> Iterator[tuple[str, list[str]]]:
    """Have the page read damaged settings, clouds and data sets without an end; yield what was sent and its faults."""
    chance = random.Random(seed)
    while True:
        for extension, make in SETTINGS.items():
            for _ in range(at_once):
                answer, content = load_settings(page, damaged(make(), chance), extension)
                yield f"settings, {content[:60]!r}", page.problems(answer, content)
        names = [f"{number}.{chance.choice(list(CLOUDS))}" for number in range(at_once)]
        clouds = {name: damaged(CLOUDS[name.partition(".")[2]](), chance) for name in names}
        for files in (clouds, *({f"set.{ending}": damaged(make(), chance)} for ending, make in SETS.items())):
            yield f"data check of {', '.join(files)}, seed {seed}", page.problems(check(page, files), "")


def load_settings(page: Target, content: bytes, extension: str = "yaml") -> tuple[Answer, str]:
    """Drop a file of settings on the form."""
    event = page.running.event("_load_dropped")
    path = page.running.upload(f"run.{extension}", content)
    value = {"path": path, "orig_name": f"run.{extension}", "meta": {"_type": "gradio.FileData"}}
    return page.running.call(event, [value]), content.decode(errors="replace") + path


def check(page: Target, files: dict[str, bytes]) -> Answer:
    """Upload files, have the Data tab check them, and return all that its stream says."""
    sent = []
    for name, content in files.items():
        path = page.running.upload(name, content)
        sent.append({"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}})
    event = next(one for one in page.running.events if one.name == "run" and "file" in one.types)
    session = f"check{time.monotonic_ns()}"
    body = {"data": ["upload", "", "", sent], "fn_index": event.index, "session_hash": session}
    answer = page.running.post("/gradio_api/queue/join", body)
    if answer.status != 200:
        return answer
    stream = page.client.get(f"/gradio_api/queue/data?session_hash={session}")
    # The page itself names an upload to the visitor whose it is.
    lines = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: ")]
    return Answer(stream.status_code, json.dumps([line.get("output") for line in lines], ensure_ascii=False))


def main() -> int:
    """Attack until the time is over; return 1 where something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description="Attack a page.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--of", choices=("paths", "files"), default="files", help="what is sent (default: files)")
    parser.add_argument("--door", choices=("open", "rooted", "accounts"), default="accounts")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    count, faulty, end = 0, 0, time.monotonic() + 60 * options.minutes
    process, most = psutil.Process(), 0
    with tempfile.TemporaryDirectory(prefix="pointsmith-fuzz-") as name, target(Path(name), options.door) as page:
        attacks = (full_product if options.of == "paths" else damaged_files)(page, options.seed)
        total = f" of {len(list(inputs(page.running.events))) * len(page.paths)}" if options.of == "paths" else ""
        for what, faults in attacks:
            count += 1
            faulty += bool(faults)
            for fault in faults:
                print(f"{what}: {fault}", flush=True)
            if count % 50 == 0:
                most = max(most, process.memory_info().rss)
            if time.monotonic() > end:
                break
        copies = page.foreign_copies()
        events, fields = len(page.running.events), len(list(inputs(page.running.events)))
    print(
        f"{options.door}, seed {options.seed}: {count:,}{total} attacks over {events} events with {fields:,} inputs, "
        f"{faulty} faults, {len(copies)} foreign copies, {most / 2**20:,.0f} MB at most"
    )
    return 1 if faulty or copies else 0


if __name__ == "__main__":
    sys.exit(main())
