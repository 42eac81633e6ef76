"""No secret of a worker's environment is left anywhere: a run is made to tell them all, and everything is searched."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker.scrub import ScrubbedStream, scrubber
from pointsmith.worker.service import Service
from pointsmith.worker.store import RunStore

from tests.support.waiting import FAST, until

TOKEN = "hf_" + "aB3dE5gH7j" * 4
KEY = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
SENTRY = "correct-horse-battery"
LEAK = """
import logging, os, sys
from pointsmith.core.events import Note, Stage
from pointsmith.worker.trainer import main

def leak(config, folder, device, stop):
    told = " ".join(os.environ[name] for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PROXY"))
    yield Stage(stage="data", message=told)
    yield Note(message=told)
    print(told)
    print(told, file=sys.stderr)
    logging.getLogger("x").error("told %s", told)
    raise ValueError("Authorization: Bearer " + told)

sys.exit(main(sys.argv[1:], leak))
"""


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        (f"token {TOKEN}!", "token hf_***!"),
        ("Authorization: Bearer abcdefgh.12345", "Authorization: Bearer ***"),
        ("redis://me:pa:ss@w0rd@host:6379/0", "redis://me:***@host:6379/0"),
        ("rediss://:longsecret@host/0 is down", "rediss://:***@host/0 is down"),
        ("unix:///run/r.sock?db=0&password=geheim", "unix:///run/r.sock?db=0&password=***"),
        ("hf_short and http://host:80/a stay", "hf_short and http://host:80/a stay"),
        (f"key {KEY}", "key ***"),
        ("at 1e-3, loss 0.25", "at 1e-3, loss 0.25"),
    ],
)
def test_secrets_are_blacked_out(text: str, scrubbed: str) -> None:
    assert scrubber({"AWS_SECRET_ACCESS_KEY": KEY, "PS_TOKEN": "1e-3", "HOME": "/root"})(text) == scrubbed


def test_a_log_handler_behind_the_stream_tells_nothing() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(ScrubbedStream(out, scrubber({"A_TOKEN": SENTRY})))
    try:
        raise ValueError(f"refused {TOKEN}")
    except ValueError:
        handler.emit(logging.LogRecord("x", 40, "f", 1, "said %s", (SENTRY,), sys.exc_info()))
    said = out.getvalue()
    assert "said ***" in said and "refused hf_***" in said and "Traceback" in said


def test_a_run_that_tells_everything_leaves_no_secret_behind(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("PROXY", f"http://me:{SENTRY}@proxy:8080")
    trainer = tmp_path / "leak.py"
    trainer.write_text(LEAK)
    with Service(data, 1, trainer=(sys.executable, str(trainer)), timing=FAST) as service:
        run = service.store.create({"steps": 1})
        until(lambda: service.store.get(run.id).state == "failed", "the run to fail")
        run = service.store.get(run.id)
        assert run.error is not None and "ValueError" in run.error["message"] and run.error["log"]
        redis = service.store.ledger.redis
        dump = [str(redis.type(key)) + repr(_content(redis, key)) for key in redis.keys("*")]
        told = "\n".join([*dump, repr(service.store.events(run.id)), *service.store.log(run.id, 200)])
    assert "***" in told and "leak.py" in told
    files = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert {"appendonly.aof", "log.txt", "events-1.jsonl", "error.json", "worker-1.log"} <= {p.name for p in files}
    for secret in (TOKEN, KEY, SENTRY):
        assert secret not in told
        assert not [path for path, content in files.items() if secret.encode() in content]


def _content(redis: object, key: str) -> object:
    kind = redis.type(key)  # type: ignore[attr-defined]
    read = {"hash": "hgetall", "string": "get", "set": "smembers"}.get(kind)
    if read:
        return getattr(redis, read)(key)
    if kind == "stream":
        return redis.xrange(key)  # type: ignore[attr-defined]
    return redis.zrange(key, 0, -1) if kind == "zset" else redis.lrange(key, 0, -1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["name", "config"])
def test_a_token_in_the_settings_is_refused(store: RunStore, where: str) -> None:
    with pytest.raises(UserError, match="access token") as error:
        store.create({"note": TOKEN if where == "config" else ""}, name=TOKEN if where == "name" else "x")
    assert TOKEN not in str(error.value)
    assert not store.count() and not list((store.data_dir / "runs").glob("*"))
