"""Watching over one attempt: a trainer process is started, its lease kept, its events shipped, its end judged.

This runs in Celery's pool process and never imports PyTorch, so whatever happens to the trainer (a crash, no memory,
a kill) stays there, and its GPU memory comes back with its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.data.child import SCRATCH
from ..core.errors import UserError
from . import uploads
from .artefacts import VARIABLE as ARTEFACTS
from .capability import needs_of
from .celery_app import AGAIN
from .connection import Unreachable
from .ledger import Claim, Outcome
from .mirror import Mirror
from .run import last_lines, read_json, run_folder, write_json
from .settings import ADDRESS, WorkerSettings
from .shipper import Shipper
from .store import RunStore
from .trainer import BUG, DONE, HELD, INTERRUPTED, SILENCE, USER


class Supervisor:
    """Runs claimed runs, one at a time; `draining()` says that this worker is to go and must give its run back."""

    def __init__(self, store: RunStore, settings: WorkerSettings, draining: Callable[[], bool]):
        self.store = store
        self.ledger = store.ledger
        self.settings = settings
        self.timing = settings.timing
        self.draining = draining

    def hint(self, queue: str) -> None:
        """Follow a hint: run what is next in this queue. Raises Unreachable when Redis does not answer at all."""
        if self.draining():
            return  # the run stays queued, and a reaper sends another hint
        claim = self.ledger.claim_next(queue, self.settings.name)
        if claim is not None:
            Attempt(self, claim).run()


class Attempt:
    """One claim of one run, from the start of its trainer to the entry of its end in the ledger."""

    def __init__(self, supervisor: Supervisor, claim: Claim):
        self.store, self.ledger = supervisor.store, supervisor.ledger
        self.settings, self.timing, self.draining = supervisor.settings, supervisor.timing, supervisor.draining
        self.claim = claim
        self.folder = run_folder(self.store.data_dir, claim.id)
        self.shipper = Shipper(self.ledger, claim, self.folder)
        artefacts = self.store.artefacts
        self.mirror = Mirror(artefacts, claim.id, claim.token, self.folder) if artefacts else None
        self._mirrored = 0
        self._transfer_until: float | None = None
        self.ours = True
        self.cancelled = False
        self.stopped_by_us = False
        self.stalled = False
        self._kill_at: float | None = None
        now = time.monotonic()
        self._renewed, self._watched, self._spoke, self._size = now, now, now, -1

    def run(self) -> None:
        """Do it all. Whatever happens, the trainer is gone when this returns."""
        try:
            self._prepare()
            if not self._restored():
                return
        except OSError as error:
            message = f"The run's folder cannot be used ({error.strerror})"
            self._settle("failed", error={"kind": "disk", "message": message, "log": []})
            return
        if (result := self._result()) is not None:  # trained to its end before, but the news was lost
            self._settle("succeeded", result=result)
            return
        process = self._spawn()
        try:
            while process.poll() is None:
                self._say_alive(process)
                self._look_after(process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self.timing.poll)
        finally:
            _kill(process)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
            shutil.rmtree(self.folder / ".scratch", ignore_errors=True)
        if self.ours:
            self._judge(process.returncode)

    def _say_alive(self, process: subprocess.Popen[bytes]) -> None:
        """A byte for the trainer, which ends by itself when none comes: on another machine no lock would hold it."""
        assert process.stdin is not None
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(process.stdin.fileno(), b".")

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "error.json").unlink(missing_ok=True)
        if read_json(self.folder / "run.json") is None:  # accepted on another machine that shares no folder with us
            self.store.record(self.claim.id)

    def _restored(self) -> bool:
        """Bring here what other machines left of this run; False when the attempt is over before it began."""
        if self.mirror is None:
            return True
        config = json.loads(self.claim.fields["config"])
        self.mirror.restore(uploads.named(config, self.store.data_dir))
        self._wait_for_mirror()
        if self.ours and not self.cancelled and not self.draining() and self.mirror.trouble is None:
            return True
        self.mirror.close()
        trouble = self.mirror.trouble
        if self.ours and trouble is not None:
            # Not final: the store may be back for the next attempt, and the budget bounds how often that is tried.
            time.sleep(self.timing.poll)
            self._settle("lost", error={"kind": "network", "message": str(trouble), "log": []})
        elif self.ours:
            self._settle("interrupted")
        return False

    def _wait_for_mirror(self) -> None:
        """Keep the lease while the mirror is at work; once this worker has to go, only until `_transfer_until`."""
        while self.mirror is not None and self.mirror.busy() and self.ours:
            now = time.monotonic()
            if now - self._watched >= self.timing.watch:
                self._watched = now
                with contextlib.suppress(Unreachable):
                    self._ask(now)
            if (self.draining() or self.cancelled) and now > (self._transfer_until or 0.0):
                self.mirror.close()
                return
            time.sleep(min(0.05, self.timing.poll))

    def _spawn(self) -> subprocess.Popen[bytes]:
        needs = needs_of(json.loads(self.claim.fields.get("needs") or "{}"))
        device = self.settings.device if needs.device == "any" else needs.trainer_device
        command = [*self.settings.trainer, str(self.folder), str(self.claim.token), device]
        secret = (ADDRESS, "REDIS_URL", ARTEFACTS)
        environment = {key: value for key, value in os.environ.items() if key not in secret}
        # Threads that wait for each other by spinning lose most of their time as soon as something else (a browser on
        # the same machine, say) wants a core.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # Unpacked archives lie in the run's own folder: what a kill leaves there goes with the next attempt or the end.
        environment[SCRATCH] = str(self._scratch())
        environment[SILENCE] = f"{self.timing.lease / 2:g}"
        with (self.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # its closing tells the trainer that we are gone
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is not for the trainer, and we can kill its group
                env=environment,
                cwd=self.store.data_dir if self._names_uploads() else None,
            )
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)  # a trainer that does not read must not hold us up
        return process

    def _scratch(self) -> Path:
        """The folder for what lies on disk while data are read, empty."""
        place = self.folder / ".scratch"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        return place

    def _names_uploads(self) -> bool:
        """Whether the configuration names data relative to the data folder (see `uploads`)."""
        return bool(uploads.named(json.loads(self.claim.fields["config"]), self.store.data_dir))

    def _look_after(self, process: subprocess.Popen[bytes]) -> None:
        """One turn: end what must end; now and then ask the ledger, keep the lease and ship."""
        now = time.monotonic()
        if self._kill_at is not None and now > self._kill_at:
            _kill(process)
            return
        if self.draining() and self._kill_at is None:
            self._ask_to_stop(process, self.timing.drain_grace)
        if now - self._watched < self.timing.watch:
            return
        self._watched = now
        try:
            wished = self._ask(now)
            self.ours = self.ours and self.shipper.ship()
        except Unreachable:
            # On one machine nobody else can have taken the run, so training goes on. Across a network somebody may
            # once the lease ends: stop before.
            if not self.store.address.local and now - self._renewed > 0.75 * self.timing.lease:
                self._ask_to_stop(process, self.timing.drain_grace)
            return
        if not self.ours:
            _kill(process)
        elif wished:
            self._ask_to_stop(process, self.timing.cancel_grace)
        self._mirror_checkpoint()
        self._watch_for_silence(process, now)

    def _ask(self, now: float) -> bool:
        """Ask the ledger how the claim stands and keep the lease; True when somebody has just wished the end."""
        standing = self.ledger.standing(self.claim)
        self.ours = standing.ours
        if self.ours and now - self._renewed > self.timing.renew:
            self.ours = self.ledger.renew(self.claim)
            self._renewed = now
        wished = standing.cancel and not self.cancelled
        self.cancelled = self.cancelled or standing.cancel
        return wished

    def _mirror_checkpoint(self) -> None:
        if self.mirror is None:
            return
        if not self.ours:
            self.mirror.close()
            return
        self.mirror.shipped(self.shipper.offset)
        if self.shipper.checkpoints > self._mirrored and not self.mirror.busy():
            self._mirrored = self.shipper.checkpoints
            self.mirror.checkpoint()

    def _watch_for_silence(self, process: subprocess.Popen[bytes], now: float) -> None:
        size = sum(path.stat().st_size for path in self.folder.glob("*.*") if path.suffix in (".jsonl", ".txt"))
        if size != self._size:
            self._size, self._spoke = size, now
        elif now - self._spoke > self.timing.stall:
            self.stalled = True
            _kill(process)

    def _ask_to_stop(self, process: subprocess.Popen[bytes], grace: float) -> None:
        self.stopped_by_us = True
        deadline = time.monotonic() + grace
        self._kill_at = deadline if self._kill_at is None else min(self._kill_at, deadline)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)

    def _judge(self, code: int) -> None:
        """Turn the exit code into the run's next state."""
        result = self._result()
        if code == DONE and result is not None:
            self._settle("succeeded", result=result)
        elif code in (USER, BUG, DONE):
            self._settle("failed", error=self._error(code))
        elif code in (INTERRUPTED, HELD) or (self.stopped_by_us and code < 0):
            self._settle("interrupted")
        else:
            reason = "said nothing for too long" if self.stalled else _reason(code)
            message = f"The trainer {reason}, {self.timing.budget} times without a new checkpoint"
            self._settle("lost", error={"kind": "lost", "message": message, "log": self._log()})

    def _settle(
        self, outcome: Outcome, *, error: dict[str, Any] | None = None, result: dict[str, Any] | None = None
    ) -> None:
        """Ship the last events and enter the end, however long Redis stays away, unless this worker has to go.

        Nothing is lost if it has: the lease runs out, and `result.json` or the checkpoint tell the next one.
        """
        if self.mirror is not None and self.folder.exists():
            error = self._leave_files(outcome) or error
            outcome = "failed" if error and outcome == "succeeded" else outcome
            if not self.ours:
                return
        give_up: float | None = None
        while True:
            try:
                self.shipper.ship()
                state = self.ledger.finish(self.claim, outcome, error=error, result=result)
                break
            except Unreachable:
                if self.draining():
                    give_up = give_up or time.monotonic() + 2.0
                    if time.monotonic() > give_up:
                        return
                time.sleep(0.2)
        if state == "queued":
            self.store.hint(self.claim.id, AGAIN, self.claim.queue)
        elif state is not None:
            with contextlib.suppress(UserError):  # deleted meanwhile, or Redis just went: the ledger has it already
                self.store.record(self.claim.id)

    def _leave_files(self, outcome: Outcome) -> dict[str, Any] | None:
        """Send what this attempt leaves to the artefact store, before anybody is told that it ended.

        Returns an error where a result could not be sent; the rest can be done without: an earlier checkpoint counts.
        """
        assert self.mirror is not None
        if outcome != "lost" and (outcome == "succeeded" or not self.cancelled):
            self._transfer_until = time.monotonic() + self.timing.transfer_grace
            self.mirror.finish(outcome == "succeeded")
            self._wait_for_mirror()
        trouble = self.mirror.trouble
        self.mirror.close()
        if trouble is None or outcome != "succeeded":
            return None
        message = f"The run ended well, but its files were not sent from {self.folder}: {trouble}"
        return {"kind": "network", "message": message, "log": self._log()}

    def _result(self) -> dict[str, Any] | None:
        return read_json(self.folder / "result.json")

    def _error(self, code: int) -> dict[str, Any]:
        found = read_json(self.folder / "error.json")
        if found is not None:
            return found
        log = self._log()
        message = f"The trainer {_reason(code)} without saying why; read the log"
        error = {"kind": "bug", "message": message, "log": log}
        with contextlib.suppress(OSError):
            write_json(self.folder / "error.json", error)
        return error

    def _log(self) -> list[str]:
        return last_lines(self.folder / "log.txt", 40)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the trainer and whatever it started; it leads its own group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _reason(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed (most often because the machine ran out of memory)"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
