"""Where the events of a run are read from, and how they leave Redis once the run has ended.

While a run is alive its stream in Redis has them all, and so have the files of the machine that trains it. Some time
after its end the stream is put away: what the run's folder lacks is written there from the stream (and into the
artefact store, where there is one), and only then the stream is deleted.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..core.durable import write_synced
from .artefacts import ArtefactError, Artefacts
from .ledger import Ledger
from .run import run_folder, write_json
from .timeline import Cursor, Entry, count_lines, events_file, read_entries, tokens

_TOLD = "told.json"
"""In a run's folder: the event files here are the whole story."""
SOME = 50
"""Runs put away at a time."""


def entries(
    ledger: Ledger, artefacts: Artefacts | None, data_dir: Path, run_id: str, attempt: int, after: Cursor
) -> list[Entry]:
    """The entries behind the cursor, from the quickest place that has them."""
    folder = run_folder(data_dir, run_id)
    if after == Cursor() and artefacts is None and attempt and tokens(folder)[-1:] == [attempt]:
        # Without an artefact store the folder is where the training happens: a file is read faster than a stream.
        return list(read_entries(folder, after))
    found = ledger.entries(run_id, after)
    if found is None:
        if artefacts is not None:
            _bring_story(artefacts, run_id, folder)
        found = list(read_entries(folder, after))
    return found


def _bring_story(artefacts: Artefacts, run_id: str, folder: Path) -> None:
    if (folder / _TOLD).exists():
        return
    manifest = artefacts.story(run_id)
    if manifest is not None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        artefacts.fetch(run_id, manifest, folder)
        write_json(folder / _TOLD, {})


def put_away(ledger: Ledger, artefacts: Artefacts | None, data_dir: Path) -> int:
    """Put the streams of runs that ended long enough ago into their folders; how many it were."""
    done = 0
    for run_id in ledger.ended(SOME):
        folder = run_folder(data_dir, run_id)
        # What cannot be written now (a full disk, a store that is away) is tried again with the next sweep.
        with contextlib.suppress(OSError, ArtefactError):
            _write_story(ledger, run_id, folder)
            if artefacts is not None:
                artefacts.put_story(
                    run_id, {f"events-{token}.jsonl": events_file(folder, token) for token in tokens(folder)}
                )
                write_json(folder / _TOLD, {})
            ledger.drop_stream(run_id)
            done += 1
    return done


def _write_story(ledger: Ledger, run_id: str, folder: Path) -> None:
    """Make sure that the folder's files hold every entry of the stream."""
    told = ledger.entries(run_id, Cursor()) or []
    last = {token: number for token, number, _ in told}
    lacking = [token for token, number in last.items() if count_lines(events_file(folder, token)) < number]
    if not lacking:
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines: dict[int, list[str]] = {token: [] for token in lacking}
    for token, _, line in told:
        if token in lines:
            lines[token].append(line)
    for token, found in lines.items():
        write_synced(events_file(folder, token), "".join(f"{line}\n" for line in found).encode())
