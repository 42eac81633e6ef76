"""Watching over one attempt: a trainer process is started, its lease kept, its events shipped, its end judged.

This runs in Celery's pool process and never imports PyTorch, so whatever happens to the trainer (a crash, no memory,
a kill) stays there, and its GPU memory comes back with its end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from ..core.errors import UserError
from .celery_app import AGAIN
from .connection import Unreachable
from .ledger import Claim, Outcome
from .run import last_lines, read_json, run_folder, write_json
from .settings import ADDRESS, WorkerSettings
from .shipper import Shipper
from .store import RunStore
from .trainer import BUG, DONE, HELD, INTERRUPTED, USER


class Supervisor:
    """Runs claimed runs, one at a time; `draining()` says that this worker is to go and must give its run back."""

    def __init__(self, store: RunStore, settings: WorkerSettings, draining: Callable[[], bool]):
        self.store = store
        self.ledger = store.ledger
        self.settings = settings
        self.timing = settings.timing
        self.draining = draining

    def hint(self, run_id: str) -> None:
        """Follow a hint: run this run if it is still queued. Raises Unreachable when Redis does not answer at all."""
        if self.draining():
            return  # the run stays queued, and a reaper sends another hint
        claim = self.ledger.claim(run_id, self.settings.name)
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
                self._look_after(process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self.timing.poll)
        finally:
            _kill(process)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self.ours:
            self._judge(process.returncode)

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "error.json").unlink(missing_ok=True)
        if read_json(self.folder / "run.json") is None:  # accepted on another machine that shares no folder with us
            self.store.record(self.claim.id)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [*self.settings.trainer, str(self.folder), str(self.claim.token), self.settings.device]
        environment = {key: value for key, value in os.environ.items() if key not in (ADDRESS, "REDIS_URL")}
        # Threads that wait for each other by spinning lose most of their time as soon as something else (a browser on
        # the same machine, say) wants a core.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # its closing tells the trainer that we are gone
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is not for the trainer, and we can kill its group
                env=environment,
            )

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
            standing = self.ledger.standing(self.claim)
            self.ours = standing.ours
            if self.ours and now - self._renewed > self.timing.renew:
                self.ours = self.ledger.renew(self.claim)
                self._renewed = now
            self.ours = self.ours and self.shipper.ship()
        except Unreachable:
            # On one machine nobody else can have taken the run, so training goes on. Across a network somebody may
            # once the lease ends: stop before.
            if not self.store.address.local and now - self._renewed > 0.75 * self.timing.lease:
                self._ask_to_stop(process, self.timing.drain_grace)
            return
        if not self.ours:
            _kill(process)
        elif standing.cancel and not self.cancelled:
            self.cancelled = True
            self._ask_to_stop(process, self.timing.cancel_grace)
        self._watch_for_silence(process, now)

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
            self.store.hint(self.claim.id, AGAIN)
        elif state is not None:
            with contextlib.suppress(UserError):  # deleted meanwhile, or Redis just went: the ledger has it already
                self.store.record(self.claim.id)

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
