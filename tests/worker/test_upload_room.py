"""Uploads have a limit, and can be seen and deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker.upload_room import VARIABLE, UploadRoom


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
