"""`pointsmith uploads` on the store of a real Redis: sizes, users, and what may go."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore
from pointsmith.worker.upload_room import UploadRoom

from tests.support.cli import Call


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with EmbeddedRedis(tmp_path / "data" / "redis") as server:
        found = RunStore(server.address.url, tmp_path / "data")
        yield found
        found.close()


def test_bytes_of_each_user_are_listed(store: RunStore, call: Call) -> None:
    room = UploadRoom(store.data_dir / "uploads")
    for user, size in (("ann", 2000), ("ann", 3000), ("ben", 1000)):
        with room.admit(size, f"of-{user}", user) as folder:
            folder.mkdir()
            (folder / "set.zip").write_bytes(b"0" * size)
    answer = json.loads(call("uploads", "--data", str(store.data_dir), "--json").stdout)
    assert answer["bytes_by_user"] == {"ann": 5000, "ben": 1000} and answer["limit_bytes_per_user"] == 12_500_000_000
    assert sorted(one["user"] for one in answer["uploads"]) == ["ann", "ann", "ben"]
    table = call("uploads", "--data", str(store.data_dir)).stdout
    assert "ann" in table and "ben" in table


def test_list_and_delete(store: RunStore, call: Call) -> None:
    place = store.data_dir / "uploads"
    for letter in "abc":
        (place / (letter * 32)).mkdir(parents=True)
        (place / (letter * 32) / "set.zip").write_bytes(b"0" * 2000)
        os.utime(place / (letter * 32), (1, 1))
    run = store.create({"data": {"path": f"{place}/{'a' * 32}/set.zip"}})
    data = ("--data", str(store.data_dir))
    told = json.loads(call("uploads", *data, "--json").stdout)
    assert [one["runs"] for one in told["uploads"]] == [[run.id], [], []] and told["limit_bytes"] == 50 * 10**9
    refused = call("uploads", *data, "--delete", "aaaa")
    assert refused.exit_code == 2 and "a" * 32 in refused.stderr and (place / ("a" * 32)).is_dir()
    said = call("uploads", *data, "--delete", "bb").stdout
    assert "b" * 32 in said and "set.zip" in said and not (place / ("b" * 32)).exists()
    call("uploads", *data, "--unused")
    assert [path.name for path in place.iterdir()] == ["a" * 32]
    unknown = call("uploads", *data, "--delete", "zz")
    assert unknown.exit_code == 2 and "'zz'" in unknown.stderr
