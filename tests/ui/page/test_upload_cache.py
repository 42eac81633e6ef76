"""Uploads are counted before their bytes arrive, lie in a private folder, and do not stay there unused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from pointsmith.ui import upload_cache
from pointsmith.ui.access import Access
from pointsmith.ui.accounts import Accounts
from pointsmith.ui.upload_cache import AGE, CACHE, UploadGate, private_cache
from pointsmith.worker import quotas
from pointsmith.worker.upload_room import VARIABLE, UploadRoom
from starlette.testclient import TestClient


class Page:
    """A stand-in for Gradio's upload behind the gate; the header `visitor` says who sends."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.uploads, self.now = folder / "pointsmith-cache-x", folder / "uploads", 1e9
        self.cache.mkdir()
        access = Access(self.uploads, "accounts", Accounts())
        monkeypatch.setattr(access, "visitor", lambda request: request.headers.get("visitor"))
        app = FastAPI()
        self.bodies = 0

        @app.post("/gradio_api/upload")
        async def upload(request: Request) -> list[str]:
            self.bodies += 1
            place = self.cache / f"{self.bodies}" / "set.zip"
            place.parent.mkdir()
            place.write_bytes(await request.body())
            return [str(place)]

        gate = UploadGate(app, access, self.cache, self.uploads, clock=lambda: self.now)
        self.client = TestClient(gate)

    def send(self, visitor: str, size: int) -> int:
        return self.client.post("/gradio_api/upload", content=b"0" * size, headers={"visitor": visitor}).status_code

    def files(self) -> int:
        return sum(path.is_file() for path in self.cache.rglob("*"))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setattr(upload_cache, "SMALL", 0)
    monkeypatch.setenv(VARIABLE, "0.000002")  # 2,000 bytes for all, 500 for each
    return Page(tmp_path, monkeypatch)


def test_a_user_fills_only_their_share_of_the_cache(page: Page) -> None:
    assert [page.send("ann", 400), page.send("ann", 101), page.send("ann", 100)] == [200, 413, 200]
    assert page.bodies == 2  # what was refused never arrived
    assert page.send("ben", 500) == 200


def test_what_is_uploaded_already_counts_too(page: Page) -> None:
    room = UploadRoom(page.uploads)
    with room.admit(400, Access.room_of("ann")) as folder:
        folder.mkdir()
        (folder / "set.zip").write_bytes(b"0" * 400)
    assert [page.send("ann", 101), page.send("ann", 100), page.send("ben", 101)] == [413, 200, 200]


def test_all_users_together_stay_within_the_room(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(quotas.UPLOADS, "0")
    assert [page.send("ann", 1500), page.send("ben", 501), page.send("ben", 500)] == [200, 413, 200]


def test_a_file_to_predict_is_taken_where_the_room_is_full(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_cache, "SMALL", 400)
    monkeypatch.setenv(VARIABLE, "0")
    assert [page.send("ann", 400), page.send("ann", 1), page.send("ben", 400)] == [200, 413, 200]


def test_the_size_must_be_told(page: Page) -> None:
    body = (b"0" for _ in range(3))
    answer = page.client.post("/gradio_api/upload", content=body, headers={"visitor": "ann"})
    assert answer.status_code == 411 and page.bodies == 0


def test_what_no_event_takes_over_is_swept(page: Page) -> None:
    assert page.send("ann", 500) == 200
    broken_off = page.cache / "tmpabc"
    broken_off.write_bytes(b"0")
    os.utime(broken_off, (page.now, page.now))
    page.now += AGE - 1
    assert page.send("ann", 500) == 413 and page.files() == 2
    page.now += 2
    assert page.send("ann", 500) == 200 and page.files() == 1


def test_what_an_event_took_over_counts_once(page: Page) -> None:
    assert page.send("ann", 400) == 200
    (cached,) = page.cache.rglob("set.zip")
    with UploadRoom(page.uploads).admit(400, Access.room_of("ann")) as folder:
        folder.mkdir()
        cached.rename(folder / "set.zip")
    assert [page.send("ann", 101), page.send("ann", 100)] == [413, 200]


def test_a_visitor_without_a_login_is_left_to_the_page(page: Page) -> None:
    answer = page.client.post("/gradio_api/upload", content=b"0" * 5000)
    assert answer.status_code == 200  # of the stand-in, which asks nobody for a name


def test_the_cache_is_private_and_dead_ones_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path))
    dead = tmp_path / "pointsmith-cache-dead"
    dead.mkdir()
    (dead / ".lock").touch()
    (dead / "upload.zip").touch()
    (tmp_path / "another program's").mkdir()
    with private_cache() as first:
        assert stat.S_IMODE(first.stat().st_mode) == 0o700 and os.environ[CACHE] == str(first)
        assert not dead.exists()
        monkeypatch.setenv(CACHE, str(tmp_path))
        with private_cache() as second:
            assert first.is_dir() and second.is_dir()
        assert first.is_dir() and not second.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["another program's"]
