"""`pointsmith workers`, against a real Redis."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore

from tests.support.cli import Call


def test_workers_are_listed(call: Call, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EmbeddedRedis(data / "redis") as server:
        assert json.loads(call("workers", "--data", data, "--json").output) == []
        store = RunStore(server.address.url, data)
        note = {"host": "lab", "pid": 7, "device": "H200", "memory_gb": 139.8, "queues": ["cuda", "any"]}
        redis, key = store.ledger.redis, store.ledger.key("workers")
        redis.hset(key, "1.7@lab", json.dumps({**note, "heartbeat": time.time()}))
        redis.hset(key, "1.8@lab", json.dumps({**note, "heartbeat": time.time() - 3600}))
        store.close()
        shown = call("workers", "--data", data).output
        assert all(word in shown for word in ("lab", "H200", "140 GB", "idle", "cuda, any")) and shown.count("lab") == 1
        (listed,) = json.loads(call("workers", "--data", data, "--json").output)
        assert listed["name"] == "1.7@lab" and listed["running"] is None


def test_submit_refuses_needs_that_cannot_be_met(call: Call) -> None:
    done = call("submit", "--recipe", "demo", "--on", "cpu", "--memory", "8")
    assert done.exit_code == 2 and "Only a run on a GPU" in done.output
