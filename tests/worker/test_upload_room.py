"""Uploads have a limit, and can be seen and deleted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker import quotas
from pointsmith.worker.upload_room import VARIABLE, UploadRoom

from tests.support.processes import join


def _put(folder: Path, letter: str, size: int) -> str:
    (folder / (letter * 32) / "inner").mkdir(parents=True)
    (folder / (letter * 32) / "inner" / "scan.xyz").write_bytes(b"0" * size)
    return letter * 32


def test_what_is_there_and_what_still_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = UploadRoom(tmp_path)
    room.require(10**9)  # nothing there, and the usual limit
    name = _put(tmp_path, "a", 600)
    (tmp_path / "not an upload").mkdir()
    (one,) = room.list()
    assert (one.name, one.bytes, one.holds) == (name, 600, ("inner",))
    monkeypatch.setenv(VARIABLE, "0.000001")  # 1,000 bytes
    room.require(400)
    with pytest.raises(UserError, match=f"no room.*pointsmith uploads.*{VARIABLE}"):
        room.require(401)
    room.delete(name)
    room.require(1000)
    assert room.list() == []


@pytest.mark.parametrize("name", ["..", "../x", "a" * 31, "", "A" * 32, "b" * 32])
def test_only_uploads_are_deleted(tmp_path: Path, name: str) -> None:
    _put(tmp_path / "uploads", "a", 1)
    with pytest.raises(UserError, match="no such upload"):
        UploadRoom(tmp_path / "uploads").delete(name)
    assert list((tmp_path / "uploads").iterdir())


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(UserError, match=VARIABLE):
        UploadRoom(tmp_path).require(1)


def test_each_owner_has_a_share_of_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = UploadRoom(tmp_path)
    monkeypatch.setenv(VARIABLE, "0.000001")  # 1,000 bytes, of which a quarter is the share
    with room.admit(200, "of-ann", "ann") as folder:
        folder.mkdir()
        (folder / "set.zip").write_bytes(b"0" * 200)
    with pytest.raises(quotas.QuotaExceeded):
        room.require(51, "of-ann")
    room.require(50, "of-ann")
    room.require(250, "of-ben")
    room.require(800)  # without a name there is no share
    with pytest.raises(quotas.QuotaExceeded):
        room.require(30, "of-ann", cached=30, own_cached=30)
    with pytest.raises(UserError):
        room.require(250, "of-ben", cached=600)
    (one,) = room.list()
    assert (one.owner, one.user, room.taken("of-ann"), room.taken("of-ben")) == ("of-ann", "ann", 200, 0)
    monkeypatch.setenv(quotas.UPLOADS, "0")
    room.require(800, "of-ann")
    monkeypatch.setenv(quotas.UPLOADS, "9")
    with pytest.raises(UserError):  # a share is never more than the room
        room.require(801, "of-ann")


@pytest.mark.parametrize("error", [UserError, ValueError, KeyboardInterrupt])
def test_whatever_goes_wrong_nothing_of_an_upload_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    room = UploadRoom(tmp_path)
    with pytest.raises(error), room.admit(100, "of-ann") as folder:
        folder.mkdir()
        (folder / "set.zip").write_bytes(b"0" * 100)
        raise error("broken")
    assert room.list() == [] and room.taken() == 0
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def test_uploads_at_once_do_not_pass_the_limit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0.000004")
    room, arrived, admitted = UploadRoom(tmp_path), threading.Barrier(12), list[str]()

    def upload() -> None:
        try:
            with room.admit(300, "of-ann") as folder:
                arrived.wait(60)  # all that were admitted hold their room before the first file is there
                folder.mkdir()
                (folder / "set.zip").write_bytes(b"0" * 300)
            admitted.append(folder.name)
        except quotas.QuotaExceeded:
            arrived.wait(60)

    threads = [threading.Thread(target=upload) for _ in range(12)]
    for thread in threads:
        thread.start()
    join(threads)
    assert len(admitted) == 3 and room.taken("of-ann") == 900


def test_what_a_dead_process_had_reserved_is_free_again(tmp_path: Path) -> None:
    room = UploadRoom(tmp_path)
    (tmp_path / "arriving").mkdir()
    (tmp_path / "arriving" / ("a" * 32)).write_text("1000")
    assert room.taken() == 0
    with room.admit(1, "") as folder:
        assert room.taken() == 1
    assert not list((tmp_path / "arriving").glob("a*")) and not folder.exists()


def test_a_full_disk_is_said_before_it_is_filled(tmp_path: Path) -> None:
    UploadRoom.require_disk(tmp_path, 0)
    with pytest.raises(UserError):
        UploadRoom.require_disk(tmp_path, 10**18)
