"""The private Redis: started, shared, recovered, and gone with its last user."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
import redis
from pointsmith.core.errors import UserError
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.redis_binary import find_redis_server, runs

from tests.support.waiting import keeps, processes_on, until


def _pid(server: EmbeddedRedis) -> int:
    return int(server.address.client().info("server")["process_id"])


def test_private_and_durable(data: Path) -> None:
    with EmbeddedRedis(data / "redis") as server:
        settings = server.address.client().config_get("*")
        assert (settings["port"], settings["appendonly"], settings["appendfsync"]) == ("0", "yes", "always")
        assert settings["maxmemory-policy"] == "noeviction"
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700


def test_a_second_launcher_adopts_and_the_last_one_ends_it(data: Path) -> None:
    first = EmbeddedRedis(data / "redis")
    second = EmbeddedRedis(data / "redis")
    assert (first.adopted, second.adopted) == (False, True)
    assert _pid(first) == _pid(second)
    first.address.client().set("key", "value")
    first.close()
    assert second.address.client().get("key") == "value"
    second.close()
    assert not processes_on(data)
    with EmbeddedRedis(data / "redis") as third:
        assert third.address.client().get("key") == "value"


def test_kill_loses_no_acknowledged_write(data: Path) -> None:
    server = EmbeddedRedis(data / "redis")
    client = server.address.client()
    for number in range(100):
        client.set(f"key{number}", number)
    killed = _pid(server)
    os.kill(killed, signal.SIGKILL)
    with EmbeddedRedis(data / "redis") as again:
        assert _pid(again) != killed
        assert again.address.client().dbsize() == 100
        server.close()
        assert again.address.client().dbsize() == 100


def test_a_killed_server_comes_back_by_itself(data: Path) -> None:
    with EmbeddedRedis(data / "redis") as first, EmbeddedRedis(data / "redis") as second:
        client = first.address.client()
        client.set("key", "value")

        def answers() -> bool:
            try:
                return bool(client.get("key") == "value")
            except redis.ConnectionError:
                return False

        def once() -> float:
            os.kill(_pid(first), signal.SIGKILL)
            return until(answers, "the server")

        keeps(3.0, once)
        assert first.address == second.address


def test_damaged_file_is_set_aside(data: Path) -> None:
    with EmbeddedRedis(data / "redis") as server:
        pipe = server.address.client().pipeline(transaction=False)
        for number in range(1000):
            pipe.set(f"key{number}", "x" * 50)
        pipe.execute()
    (file,) = [path for path in (data / "redis").rglob("*.aof") if path.stat().st_size > 10_000]
    content = bytearray(file.read_bytes())
    content[20_000:20_100] = bytes(100)
    file.write_bytes(content)
    with EmbeddedRedis(data / "redis") as server:
        assert server.salvaged is not None
        assert bytes(content) in [path.read_bytes() for path in server.salvaged.rglob("*.aof")]
        assert server.address.client().dbsize() == 0


def test_long_path_gets_a_short_socket(data: Path) -> None:
    folder = data / ("long " * 20) / "redis"
    with EmbeddedRedis(folder) as server:
        assert len(str(server.socket)) < 100
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        with EmbeddedRedis(folder) as other:
            assert other.adopted
    assert not server.socket.parent.exists()


def test_foreign_socket_folder_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data / ("long " * 20) / "redis"
    with EmbeddedRedis(folder) as server:
        short = server.socket.parent
    (data / "elsewhere").mkdir()
    short.symlink_to(data / "elsewhere")
    try:
        with pytest.raises(UserError, match="belongs to somebody else"):
            EmbeddedRedis(folder)
    finally:
        short.unlink()


def test_programs_are_tried_before_they_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho GLIBC_2.38 not found >&2\nexit 1\n")
    broken.chmod(0o755)
    assert not runs(broken)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert runs(find_redis_server())
    monkeypatch.setenv("REDIS_SERVER_BIN", str(broken))
    with pytest.raises(UserError, match="REDIS_SERVER_BIN"):
        find_redis_server()


def test_without_any_program_three_remedies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        find_redis_server()
    assert all(word in str(caught.value) for word in ("apt install", "conda install", "REDIS_URL"))


def test_a_server_that_does_not_start_says_why(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo v=1 && exit 0\necho no memory at all\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("REDIS_SERVER_BIN", str(program))
    with pytest.raises(UserError, match="no memory at all"):
        EmbeddedRedis(data / "redis")
    monkeypatch.delenv("REDIS_SERVER_BIN")
    with EmbeddedRedis(data / "redis") as server:
        until(lambda: bool(server.address.client().ping()), "a server after the failed one")
