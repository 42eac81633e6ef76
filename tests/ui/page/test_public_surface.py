"""The running application from outside: each route without a login, what calls leave behind, what errors tell."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pointsmith.core.errors import UserError
from pointsmith.ui.access import Access, access_of
from pointsmith.ui.accounts import Accounts, hashed
from pointsmith.ui.bounded_forms import BoundedParser
from pointsmith.ui.guarded_blocks import GuardedBlocks
from pointsmith.ui.page_sessions import SESSIONS, PageSessions, sweep
from pointsmith.ui.server import application
from pointsmith.ui.start_token import TOKEN, StartToken
from pointsmith.worker.store import RunStore
from starlette.datastructures import Headers
from starlette.routing import Mount

HERE = "http://127.0.0.1:7860"
PASSWORD = "a long password"
SECRET = "/srv/secret/place"


def inner(app: FastAPI) -> Any:
    """Gradio's own application."""
    return next(route.app for route in app.routes if isinstance(route, Mount))


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each method and path of an application, with something for each parameter."""
    for route in getattr(app, "routes", ()):
        if isinstance(route, Mount):
            yield from routes(route.app, prefix + route.path)
        elif hasattr(route, "original_router"):  # what FastAPI keeps of an included router
            yield from routes(route.original_router, prefix)
        elif getattr(route, "methods", None):
            for method in route.methods:
                yield method, prefix + re.sub(r"{[^}]*}", "x", route.path)


@pytest.fixture(scope="module")
def opened(store: RunStore) -> Iterator[TestClient]:
    """The page without logins."""
    with TestClient(application(store, store.data_dir), base_url=HERE) as client:
        yield client


@pytest.fixture(scope="module")
def locked(store: RunStore) -> Iterator[TestClient]:
    """The page behind a start token, with the tools of MCP."""
    access = Access(store.data_dir / "uploads", token=StartToken.read("a-token-of-the-operator"))
    with TestClient(application(store, store.data_dir, access, mcp=True), base_url=HERE) as client:
        yield client


def test_each_route_of_the_application_asks_for_the_token(locked: TestClient) -> None:
    known = set(routes(locked.app))
    assert len(known) > 60 and ("POST", "/gradio_api/queue/join") in known and ("POST", "/gradio_api/cancel") in known
    public = set()
    for method, path in sorted(known):
        status = locked.request(method, path, follow_redirects=False).status_code
        if status not in (401, 404, 405):
            public.add((method, path))
    assert public == {
        ("GET", "/"), ("HEAD", "/"), ("GET", "/healthz"), ("GET", "/login"), ("GET", "/favicon.ico"),
        ("GET", "/manifest.json"),
    }  # fmt: skip


def test_programs_and_tools_come_in_with_the_token(locked: TestClient) -> None:
    bearer = {"authorization": "Bearer a-token-of-the-operator", "accept": "application/json, text/event-stream"}
    assert locked.get("/config", headers=bearer).json()["username"] == ""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    for name, arguments in (("status", {"run_id": "x"}), ("predict", {"adapter": "x", "points": [[0, 0, 0]]})):
        tools = locked.post("/gradio_api/mcp/", json={**call, "method": "tools/list"}, headers=bearer).text
        tool = next(one for one in re.findall(r'"name":"([^"]*)"', tools) if one.endswith(name))
        body = {**call, "params": {"name": tool, "arguments": arguments}}
        answer = locked.post("/gradio_api/mcp/", json=body, headers=bearer)
        assert answer.status_code == 200 and "isError" in answer.text and "401" not in answer.text


def test_the_token_is_asked_for_on_purpose_and_leaves_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (TOKEN, "POINTSMITH_AUTH", "SYSTEM"):
        monkeypatch.delenv(name, raising=False)
    assert not access_of(tmp_path, "127.0.0.1").token
    random = access_of(tmp_path, "0.0.0.0", token=True)
    assert random.token.show and random.roots == () and random.owner() is None
    assert access_of(tmp_path, "127.0.0.1", token=True).roots is None
    monkeypatch.setenv(TOKEN, "sixteen-characters")
    own = access_of(tmp_path, "0.0.0.0")
    assert own.token.matches("sixteen-characters") and not own.token.show and TOKEN not in os.environ
    (tmp_path / "token").write_text("another-token-of-mine\n")
    assert access_of(tmp_path, "0.0.0.0", token_file=tmp_path / "token").token.matches("another-token-of-mine")
    for options in ({"auth": ["ada:long enough"]}, {"no_auth": True}):
        with pytest.raises(UserError):
            access_of(tmp_path, "127.0.0.1", token=True, **options)
    for wrong in ("short", "with a space in the middle", "ünicode-ünicode-ünicode"):
        with pytest.raises(UserError):
            StartToken.read(wrong)


# --- what stays ---


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="memory is looked up in /proc")
def test_calls_leave_nothing(opened: TestClient) -> None:
    app = inner(opened.app)
    queue, weights = app.get_blocks()._queue, []
    for at in range(520):
        if at in (20, 519):
            weights.append(resident())
        if at % 10:
            body = {"data": ["a" * 24], "session_hash": f"program{at}"}
            assert opened.post("/gradio_api/run/status", json=body).status_code == 500
        else:
            joined = opened.post("/gradio_api/call/predict", json={"data": ["a" * 24, [[0, 0, 0]]]})
            assert "event: error" in opened.get(f"/gradio_api/call/predict/{joined.json()['event_id']}").text
    assert not app.state_holder.session_data and not app.iterators and len(queue.event_analytics) <= 1
    assert weights[1] - weights[0] < 50
    idle: dict[str, float] = {}
    sweep(queue, idle, 0)
    assert not queue.pending_event_ids_session and not queue.pending_messages_per_session


def test_pages_that_are_open_are_remembered_in_bounds(opened: TestClient) -> None:
    app = inner(opened.app)
    sessions = app.state_holder
    assert isinstance(sessions, PageSessions)
    state = next(key for key, block in app.get_blocks().blocks.items() if isinstance(block, gr.State))
    first, second = sessions["open"], sessions["open"]
    first[state], second[-1] = "mine", "a component"
    assert sessions["open"][state] == "mine" and sessions["open"].blocks_config.blocks[-1] == "a component"
    for at in range(2 * SESSIONS):
        sessions[f"visit{at}"][state] = at
        assert sessions["open"][state] == "mine"  # whoever uses it keeps it
    assert len(sessions.session_data) == len(sessions.time_last_used) == SESSIONS
    sessions.time_last_used = {name: used - timedelta(days=1) for name, used in sessions.time_last_used.items()}
    sessions.delete_all_expired_state()
    assert not sessions.session_data and not sessions.time_last_used


# --- what is told ---


def test_unexpected_errors_tell_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ModuleNotFoundError(f"No module named {SECRET}")

    with GuardedBlocks(analytics_enabled=False) as blocks:
        gr.api(fail, api_name="fail")
    with pytest.raises(gr.Error) as error:
        asyncio.run(blocks.process_api(next(fn for fn in blocks.fns.values() if fn.api_name == "fail"), []))
    number = re.search(r"[0-9a-f]{8}", error.value.message)
    assert SECRET not in error.value.message and number and number[0] in caplog.text and SECRET in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/gradio_api/run/status", {"data": SECRET}),
        ("POST", "/gradio_api/run/status", {"data": [SECRET], "fn_index": 10**6}),
        ("POST", "/gradio_api/run/status", {"data": [SECRET], "trigger_id": SECRET}),
        ("POST", "/gradio_api/run/status", {"data": []}),
        ("POST", "/gradio_api/call/v2/status", {SECRET: 1}),
        ("POST", f"/gradio_api/run/{'x' * 50}", {"data": []}),
        ("GET", f"/gradio_api/file={SECRET}", None),
        ("GET", "/export/x.zip", None),
    ],
)
def test_refusals_carry_no_path_and_no_dump(
    opened: TestClient, store: RunStore, method: str, path: str, content: Any
) -> None:
    # An exception becomes an answer, as it does under uvicorn.
    client = TestClient(opened.app, base_url=HERE, raise_server_exceptions=False)
    answer = client.request(method, path, json=content)
    assert answer.status_code >= 400
    for text in (SECRET, "pydantic", "Error(", "Traceback", "site-packages", str(store.data_dir), '"input"'):
        assert text not in answer.text, answer.text


# --- logins ---


def test_logins_that_come_at_once_are_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = Accounts({"ada": hashed(PASSWORD)})
    hashes = []
    monkeypatch.setattr("pointsmith.ui.accounts.matches", lambda *_: hashes.append(threading.get_ident()))

    def guess(at: int) -> bool:
        try:
            accounts.enter("ada" if at % 2 else f"nobody{at}", "a guess", f"2001:db8::{at:x}")
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(guess, range(80))) == len(hashes) == 10
    monkeypatch.undo()
    assert accounts.enter("ada", PASSWORD, "192.0.2.1") is not None
    assert all("nobody" not in who for _, who in accounts._tries)


# --- uploads ---


def test_fields_of_a_form_are_bounded_and_files_pass(opened: TestClient) -> None:
    assert opened.post("/gradio_api/upload", files={"files": ("a.txt", b"x" * 2**20)}).status_code == 200
    folder = Path(inner(opened.app).uploaded_file_dir)
    before = {path for path in folder.iterdir() if path.is_file()}
    files: Any = [("files", ("a.txt", b"x")), ("note", (None, b"y" * 2**20))]
    assert opened.post("/gradio_api/upload", files=files).status_code == 413
    assert opened.post("/gradio_api/upload", files=[(f"n{i}", (None, b"")) for i in range(50)]).status_code == 400
    assert before == {path for path in folder.iterdir() if path.is_file()}


def test_an_upload_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    async def broken() -> Any:
        yield b'--x\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\nabc'
        raise ConnectionError

    headers = Headers({"content-type": "multipart/form-data; boundary=x"})
    parser = BoundedParser(headers, broken(), upload_dir=tmp_path, max_file_size=10)
    with pytest.raises(ConnectionError):
        asyncio.run(parser.parse())
    assert not list(tmp_path.iterdir())
