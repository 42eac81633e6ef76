"""Runs as the page and the command line see them: create, look, follow, cancel, delete."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from ..core.errors import UserError
from . import marks, quotas, story, uploads
from .artefacts import ArtefactError, Artefacts
from .capability import Needs, needs_of
from .celery_app import NEW, send_hint
from .connection import RedisAddress, Unreachable
from .ledger import Fields, Ledger
from .run import FINAL, Run, WorkerInfo, is_run_id, last_lines, read_json, run_folder, write_json
from .scrub import holds_token
from .timeline import Cursor, events_file, tell, tokens, uncollected
from .timing import Timing

STALE_WORKER = 60.0
FORGOTTEN_WORKER = 600.0


class Jsonable(Protocol):
    """A pydantic object, in as much as the store needs to know one."""

    def model_dump_json(self) -> str: ...


class RunStore:
    """All runs of one Redis. Every method raises Unreachable (a UserError) when Redis does not answer.

    `artefacts` None takes POINTSMITH_ARTEFACTS from the environment; without it all machines share the data folder.
    """

    def __init__(
        self, redis_url: str, data_dir: Path, *, timing: Timing | None = None, artefacts: Artefacts | None = None
    ):
        self.data_dir = data_dir.absolute()
        self.artefacts = artefacts or Artefacts.from_environment()
        self.address = RedisAddress.parse(redis_url)
        self.ledger = Ledger(self.address, timing or (Timing() if self.address.local else Timing.remote()))
        self.hint: Callable[..., None] = send_hint(self.address)

    def close(self) -> None:
        """Give the connections back."""
        self.ledger.close()

    def create(
        self,
        config: Jsonable | Mapping[str, Any],
        *,
        name: str | None = None,
        needs: Needs = Needs(),
        owner: str = "",
        after: Run | None = None,
        sweep: Mapping[str, Any] | None = None,
    ) -> Run:
        """Accept a validated configuration; when this returns, the run survives any crash and will be run.

        `needs` says which workers may take it; it goes on from the checkpoint of `after`, an ended run of the same
        configuration, wherever that lies; `sweep` says of which sweep it is, and where in it. Raises Unreachable
        when Redis does not answer, UserError when the disk or the artefact store refuses, QuotaExceeded when its owner
        has too many queued and running runs (see `quotas`); nothing is left then.
        """
        self.require_room(owner)
        settings: dict[str, Any] = dict(config) if isinstance(config, Mapping) else json.loads(config.model_dump_json())
        if self.artefacts is not None:
            settings = uploads.portable(settings, self.data_dir)
            for upload, place in uploads.named(settings, self.data_dir).items():
                self.artefacts.put_upload(upload, place)
        if holds_token(json.dumps(settings) + (name or "")):
            raise UserError(
                "The settings or the name hold an access token", remedy="Take it out; workers have their own (HF_TOKEN)"
            )
        run_id = secrets.token_hex(12)
        folder = run_folder(self.data_dir, run_id)
        record = {
            "id": run_id,
            "name": name or _name(settings, run_id),
            "state": "queued",
            "config": settings,
            "needs": asdict(needs),
            "owner": owner,
            "sweep": dict(sweep or {}),
        }
        try:
            folder.mkdir(parents=True, mode=0o700)
            if after is not None:
                record["attempt"] = self._carry_over(after, folder, run_id)
            write_json(folder / "run.json", record)
            self.ledger.enter_sweep(record["sweep"].get("id"), run_id)
            # Counted again, in one step with the entry: others may have come between.
            self.ledger.create(run_id, _fields(record), limit=quotas.runs_per_user() if owner else 0)
            run = self.get(run_id)
            write_json(folder / "run.json", {**record, "created": run.created})
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if after is not None and self.artefacts is not None:
                with contextlib.suppress(ArtefactError):
                    self.artefacts.delete_run(run_id)
            if isinstance(error, quotas.QuotaExceeded):
                self.ledger.leave_sweep(record["sweep"].get("id"), run_id)
            if isinstance(error, OSError):
                raise UserError(f"The run cannot be written ({error.strerror})", got=str(folder)) from error
            raise
        # From here on the run is accepted. A hint that does not get through is sent again by the reaper.
        self.hint(run_id, NEW, needs.queue)
        return run

    def require_room(self, owner: str, more: int = 1) -> None:
        """Refuse so many more runs to an owner who would then have too many. Raises QuotaExceeded."""
        limit = quotas.runs_per_user() if owner else 0
        if limit and (active := self.ledger.active(owner)) + more > limit:
            raise quotas.too_many_runs(active, more, limit)

    def get(self, run_id: str) -> Run:
        """The run as it stands; raises UserError for an unknown id."""
        found = self.ledger.look([run_id]) if is_run_id(run_id) else []
        if not found:
            raise _unknown(run_id)
        return self._run(*found[0])

    def list(self, limit: int = 100, offset: int = 0, owner: str | None = None) -> list[Run]:
        """The runs of one owner or of all, newest first."""
        if limit <= 0:
            return []
        ids: Any = self.ledger.owned(owner, limit, offset)[0] if owner is not None else None
        with self.address.answering():
            if ids is None:
                ids = self.ledger.redis.zrevrange(self.ledger.key("runs"), offset, offset + limit - 1)
        return self.several(ids)

    def several(self, ids: Iterable[str]) -> list[Run]:
        """The runs of these ids, in this order; those that are gone are left out."""
        return [self._run(fields, rank) for fields, rank in self.ledger.look(list(ids))]

    def count(self, owner: str | None = None) -> int:
        """How many runs there are, of one owner or of all."""
        if owner is not None:
            return self.ledger.owned(owner, 0, 0)[1]
        with self.address.answering():
            return int(self.ledger.redis.zcard(self.ledger.key("runs")))

    def events(self, run_id: str, after: str = "0") -> tuple[list[dict[str, Any]], str]:
        """The events behind a cursor, in order, and the cursor for the next call.

        Over all calls no step and no epoch comes twice and none is missing, however often the run was resumed; read
        from "0", steps that were done twice are the newest attempt's.
        """
        seen = Cursor.parse(after)
        attempt = self._attempt(run_id)
        with uncollected():
            found = story.entries(self.ledger, self.artefacts, self.data_dir, run_id, attempt, seen)
            events, cursor = tell(found, seen)
        return events, str(cursor)

    def bring(self, run: Run, part: str) -> Path:
        """Return a part of an ended run's folder (`adapter`, `log.txt`), fetched first where another machine made it.

        UserError when the artefact store fails; where nothing has the part, the path leads nowhere.
        """
        place = run.folder / part
        if self.artefacts is not None and not place.exists():
            found = self.artefacts.newest(run.id)
            if found is not None:
                wanted = {name: one for name, one in found[1].items() if name == part or name.startswith(f"{part}/")}
                self.artefacts.fetch(run.id, wanted, run.folder)
        return place

    def log(self, run_id: str, lines: int = 40) -> list[str]:
        """The last lines that the trainer printed; where its folder is on another machine, those kept with an error."""
        folder = run_folder(self.data_dir, run_id)
        found = last_lines(folder / "log.txt", lines)
        if found:
            return found
        run = self.get(run_id)
        if run.state in FINAL:
            with contextlib.suppress(ArtefactError):
                found = last_lines(self.bring(run, "log.txt"), lines)
        if found:
            return found
        error = run.error
        return [str(line) for line in error.get("log", [])][-lines:] if error else []

    def cancel(self, run_id: str) -> Run:
        """End the run: a queued one at once, a running one within a second; an ended one stays as it is."""
        state = self.ledger.cancel(run_id) if is_run_id(run_id) else None
        if state is None:
            raise _unknown(run_id)
        if state == "cancelled":
            self.record(run_id)
        return self.get(run_id)

    def label(
        self, run_id: str, *, name: str | None = None, note: str | None = None, tags: Sequence[str] | None = None
    ) -> Run:
        """Give a run a name, a note or tags; what is None stays. UserError for what is too long."""
        run = self.get(run_id)
        marks.label(self.ledger, run_id, name=name, note=note, tags=tags)
        if run.state in FINAL:
            self.record(run_id)
        return self.get(run_id)

    def discard(self, run_id: str) -> None:
        """Take an ended or queued run off the list; for `marks.REPENT` seconds `restore` brings it back."""
        if self.get(run_id).state == "queued":
            self.cancel(run_id)
        if self.get(run_id).state not in FINAL:
            raise UserError("The run is still running", got=run_id, remedy="Cancel it first")
        marks.discard(self.ledger, run_id)
        self.record(run_id)

    def restore(self, run_id: str) -> Run:
        """Put a discarded run back into the list; UserError when it is too late."""
        if not marks.restore(self.ledger, run_id, self.get(run_id).created):
            raise UserError("This run is not in the bin any more", got=run_id)
        self.record(run_id)
        return self.get(run_id)

    def discarded(self) -> list[Run]:
        """The runs in the bin, the newest there first."""
        found: list[Run] = []
        for run_id in marks.binned(self.ledger):
            with contextlib.suppress(UserError):  # deleted meanwhile
                found.append(self.get(run_id))
        return found

    def delete(self, run_id: str) -> None:
        """Remove an ended or queued run with everything in its folder; raises UserError while it is running."""
        folder = run_folder(self.data_dir, run_id)
        run = self.get(run_id)
        if run.state == "queued":
            self.cancel(run_id)
        if not self.ledger.delete(run_id):
            raise UserError("The run is still running", got=run_id, remedy="Cancel it first")
        marks.forget(self.ledger, run_id)
        if folder.exists():
            # Renamed first: a half-removed folder must not look like a run that is to be read in again.
            gone = folder.with_name(f".deleted-{run_id}")
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        if self.artefacts is not None:
            self.artefacts.delete_run(run_id)
        if self.ledger.leave_sweep(run.sweep.get("id"), run_id):
            (self.data_dir / "sweeps" / f"{run.sweep['id']}.json").unlink(missing_ok=True)

    def tidy(self) -> None:
        """Put away what Redis need not keep: events of runs that ended some time ago, workers that are long gone."""
        story.put_away(self.ledger, self.artefacts, self.data_dir)
        for run_id in marks.overdue(self.ledger):
            with contextlib.suppress(UserError):
                self.delete(run_id)
        with self.address.answering():
            oldest = self.ledger.redis.time()[0] - FORGOTTEN_WORKER
            known = self.ledger.redis.hgetall(self.ledger.key("workers"))
            gone = [name for name, text in known.items() if json.loads(text)["heartbeat"] < oldest]
            if gone:
                self.ledger.redis.hdel(self.ledger.key("workers"), *gone)

    def find(self, beginning: str) -> list[str]:
        """The ids of the runs that begin so."""
        with self.address.answering():
            return [
                one for one in self.ledger.redis.zrange(self.ledger.key("runs"), 0, -1) if one.startswith(beginning)
            ]

    def workers(self) -> list[WorkerInfo]:
        """The workers that gave a sign of life in the last minute, by name."""
        with self.address.answering():
            seconds, micro = self.ledger.redis.time()
            known = self.ledger.redis.hgetall(self.ledger.key("workers"))
            held = self.ledger.redis.zrange(self.ledger.key("leases"), 0, -1)
            pipe = self.ledger.redis.pipeline(transaction=False)
            for run_id in held:
                pipe.hget(self.ledger.key("run", run_id), "worker")
            holds = dict(zip(pipe.execute(), held, strict=True))
        oldest = seconds + micro / 1e6 - STALE_WORKER
        found = (WorkerInfo.parse(name, text, holds.get(name)) for name, text in known.items())
        return sorted((worker for worker in found if worker.heartbeat > oldest), key=lambda worker: worker.name)

    def record(self, run_id: str) -> None:
        """Write how an ended run stands into its folder, from which it is read in again should Redis be empty."""
        folder = run_folder(self.data_dir, run_id)
        if not folder.exists():
            return
        run = self.get(run_id)
        with self.address.answering():
            config = self.ledger.redis.hget(self.ledger.key("run", run_id), "config")
        if config is None:
            raise _unknown(run_id)
        write_json(
            folder / "run.json",
            {
                "id": run.id,
                "name": run.name,
                "state": run.state,
                "created": run.created,
                "started": run.started,
                "finished": run.finished,
                "config": json.loads(config),  # as it was accepted: the trainer compares its checkpoint's with it
                "needs": asdict(run.needs),
                "owner": run.owner,
                "sweep": run.sweep,
                "note": run.note,
                "tags": list(run.tags),
                "discarded": run.discarded,
                "progress": run.progress,
                "error": run.error,
                "result": run.result,
            },
        )

    def read_in(self) -> int:
        """Enter every run that has a folder but is unknown to Redis; how many there were.

        Ended ones come back as they ended; the others are queued again and resume from their checkpoints.
        """
        folders = [path for path in (self.data_dir / "runs").glob("*") if is_run_id(path.name)]
        with self.address.answering():
            pipe = self.ledger.redis.pipeline(transaction=False)
            for folder in folders:
                pipe.exists(self.ledger.key("run", folder.name))
            known = pipe.execute()
        entered = 0
        for folder, there in zip(folders, known, strict=True):
            record = None if there else read_json(folder / "run.json")
            if record is None or "config" not in record or record.get("id") != folder.name:
                continue
            if record.get("discarded"):  # deleted while this folder was out of reach
                shutil.rmtree(folder, ignore_errors=True)
                continue
            if record.get("state") not in FINAL:
                record["state"] = "queued"
            record["attempt"] = self._outranked(folder)
            created = record.get("created") or (folder / "run.json").stat().st_mtime
            self.ledger.enter_sweep((record.get("sweep") or {}).get("id"), folder.name, created)
            if self.ledger.create(folder.name, _fields(record), created):
                entered += 1
                if record["state"] == "queued":
                    self.hint(folder.name, NEW, needs_of(record.get("needs")).queue)
        return entered

    def _carry_over(self, old: Run, folder: Path, run_id: str) -> int:
        """Bring what a run goes on from, checkpoint and events, into another's folder; the last attempt it tells of."""
        newest = self.artefacts.newest(old.id) if self.artefacts is not None else None
        here = int((read_json(old.folder / "attempt.json") or {}).get("token", 0))
        local = list(old.folder.glob("checkpoint*"))
        if newest is not None and self.artefacts is not None and (newest[0] > here or not local):
            wanted = {name: one for name, one in newest[1].items() if name.startswith("checkpoint")}
            self.artefacts.fetch(old.id, wanted, folder)
        else:
            for path in local:
                copy = shutil.copytree if path.is_dir() else shutil.copyfile
                copy(path, folder / path.name)
        if not any(folder.glob("checkpoint*")):
            raise UserError("The run has no checkpoint to go on from", got=old.id, remedy="Start it again instead")
        lines: dict[int, list[str]] = {}
        told = story.entries(self.ledger, self.artefacts, self.data_dir, old.id, old.attempt, Cursor())
        for token, _, line in told:
            lines.setdefault(token, []).append(line)
        for token, some in lines.items():
            events_file(folder, token).write_text("".join(f"{line}\n" for line in some), encoding="utf-8")
        last = max(lines, default=0)
        if self.artefacts is not None:  # whichever machine takes the run finds it all there
            files = [path for path in folder.rglob("*") if path.is_file()]
            names = {path.relative_to(folder).as_posix(): path for path in files}
            sent = {name: self.artefacts.put_run_file(run_id, last, name, path) for name, path in names.items()}
            self.artefacts.publish(run_id, last, sent)
        return last

    def _outranked(self, folder: Path) -> int:
        """The highest token that any trace of a run knows: the next attempt must outrank it."""
        known = [*tokens(folder), (read_json(folder / "attempt.json") or {}).get("token", 0)]
        if self.artefacts is not None:
            with contextlib.suppress(ArtefactError):
                known.append((self.artefacts.newest(folder.name) or (0, {}))[0])
        return max(known)

    def _attempt(self, run_id: str) -> int:
        with self.address.answering():
            attempt = self.ledger.redis.hget(self.ledger.key("run", run_id), "attempt") if is_run_id(run_id) else None
        if attempt is None:
            raise _unknown(run_id)
        return int(attempt)

    def _run(self, fields: Fields, rank: int | None) -> Run:
        def number(key: str) -> float | None:
            return float(fields[key]) if fields.get(key) else None

        state: Any = fields["state"]
        return Run(
            id=fields["id"],
            name=fields["name"],
            state=state,
            created=float(fields["created"]),
            started=number("started"),
            finished=number("finished"),
            worker=fields.get("worker"),
            attempt=int(fields["attempt"]),
            position=rank + 1 if rank is not None and state == "queued" else None,
            config=uploads.here(fields["config"], self.data_dir),
            progress=json.loads(fields.get("progress") or "{}"),
            error=json.loads(fields["error"]) if fields.get("error") else None,
            result=json.loads(fields["result"]) if fields.get("result") else None,
            folder=run_folder(self.data_dir, fields["id"]),
            cancelling=fields.get("cancel") == "1",
            needs=needs_of(json.loads(fields.get("needs") or "{}")),
            owner=fields.get("owner", ""),
            sweep=json.loads(fields.get("sweep") or "{}"),
            note=fields.get("note", ""),
            tags=tuple(json.loads(fields.get("tags") or "[]")),
            discarded=number("discarded"),
            away=self.artefacts is not None and fields.get("mark", "0") != "0",
        )


def _fields(record: Mapping[str, Any]) -> dict[str, object]:
    """A record as the flat texts of a Redis hash; what is None is left out."""
    fields: dict[str, object] = {key: record[key] for key in ("name", "state", "config")}
    needs = needs_of(record.get("needs"))
    fields |= {"needs": asdict(needs), "queue": needs.queue, "owner": str(record.get("owner") or "")}
    fields.update({key: record[key] for key in ("started", "finished", "attempt") if record.get(key) is not None})
    fields.update({key: record[key] for key in ("progress", "error", "result", "sweep") if record.get(key)})
    fields.update({key: record[key] for key in ("note", "tags") if record.get(key)})
    return {key: json.dumps(value) if isinstance(value, (dict, list)) else str(value) for key, value in fields.items()}


def _name(config: Mapping[str, Any], run_id: str) -> str:
    kinds = [part.get("kind") for part in (config.get("method"), config.get("data")) if isinstance(part, Mapping)]
    return " on ".join(str(kind) for kind in kinds) if len(kinds) == 2 and all(kinds) else f"run {run_id[:6]}"


def _unknown(run_id: str) -> UserError:
    return UserError("There is no such run", got=run_id, remedy="Look the id up in the list of runs")


__all__ = ["RunStore", "Unreachable"]
