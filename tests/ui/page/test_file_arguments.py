"""File objects in the arguments of events: refused everywhere but in fields for files, and there unless uploaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from gradio.utils import get_upload_folder
from pointsmith.ui.access import Access
from pointsmith.ui.accounts import Accounts, hashed
from pointsmith.ui.server import application
from pointsmith.worker.store import RunStore

PASSWORD = "a long password"
FILE_FIELDS = {"file", "uploadbutton", "image"}


@pytest.fixture(scope="module", params=["open", "accounts"])
def client(store: RunStore, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """The page without logins, then the page with an account that is logged in."""
    access = Access(store.data_dir / "uploads")
    if request.param == "accounts":
        access = Access(access.uploads, "accounts", Accounts({"ada": hashed(PASSWORD)}), ())
    with TestClient(application(store, store.data_dir, access), base_url="http://127.0.0.1:7860") as client:
        if request.param == "accounts":
            assert client.post("/login", data={"username": "ada", "password": PASSWORD}).status_code == 200
        yield client


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_bytes(os.urandom(32).hex().encode())
    return path


def file_object(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def post(client: TestClient, event: int, data: list[Any]) -> str:
    body = {"data": data, "fn_index": event, "session_hash": "files"}
    answer = client.post("/gradio_api/run/predict", json=body)
    assert answer.status_code == 500  # what Gradio answers where an event raised gr.Error
    return answer.text


def copies(secret: Path) -> list[Path]:
    wanted = secret.read_bytes()
    return [path for path in Path(get_upload_folder()).rglob("*") if path.is_file() and path.read_bytes() == wanted]


def inputs(client: TestClient) -> Iterator[tuple[int, int, int, str]]:
    """Each event's number, how many inputs it has, and the first input of each type of component."""
    config = client.get("/config").json()
    types = {component["id"]: component["type"] for component in config["components"]}
    for event in config["dependencies"]:
        names = [types[component] for component in event["inputs"]]
        for name in dict.fromkeys(names):
            yield event["id"], len(names), names.index(name), name


def test_no_event_takes_a_file_of_the_server(client: TestClient, secret: Path) -> None:
    relative = os.path.relpath(secret)
    tried = 0
    for event, count, at, kind in inputs(client):
        for value in (
            file_object(str(secret)),
            [file_object(relative)],
            {"deep": [{"er": file_object(f"{get_upload_folder()}/../{os.path.relpath(secret, '/tmp')}")}]},
        ):
            if kind == "state":  # kept on the server; what a request says of it is not looked at
                continue
            data = [None] * count
            data[at] = value
            answer = post(client, event, data)
            assert str(secret) not in answer and os.getcwd() not in answer, (event, kind, answer)
            tried += 1
    assert tried > 300
    assert copies(secret) == []


def test_addresses_links_and_half_objects_are_no_uploads(client: TestClient, secret: Path, tmp_path: Path) -> None:
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / f"link-{os.getpid()}"
    link.symlink_to(secret)
    try:
        fields = [found for found in inputs(client) if found[3] in FILE_FIELDS]
        assert {kind for *_, kind in fields} == FILE_FIELDS
        for event, count, at, _ in fields:
            for value in (
                file_object("http://127.0.0.1:1/x"),
                file_object(str(link)),
                file_object(str(folder)),
                file_object("a\0b"),
                str(secret),
                {"url": "data:image/png;base64,iVBORw0KGgo="},
                {"path": str(secret)},
                {"path": str(secret), "meta": []},
                {"path": 7, "meta": {"_type": "gradio.FileData"}},
            ):
                data: list[Any] = [None] * count
                data[at] = value
                assert str(secret) not in post(client, event, data), value
    finally:
        link.unlink()
    assert copies(secret) == []


def test_an_upload_arrives(client: TestClient) -> None:
    """The honest twin: what was sent to the page may be named in a field for files, and is read."""
    table = b"0 0 0\n1 0 0\n0 1 0\n0 0 1\n"
    sent = client.post("/gradio_api/upload", files={"files": ("four.zip", table)})
    path = sent.json()[0]
    assert hashlib.sha256(Path(path).read_bytes()).digest() == hashlib.sha256(table).digest()
    event = next(
        event for event in client.get("/config").json()["dependencies"] if str(event["api_name"]) == "_keep_upload"
    )
    body = {"data": [{**file_object(path), "orig_name": "four.zip"}], "fn_index": event["id"], "session_hash": "files"}
    answer = client.post("/gradio_api/run/predict", json=body)
    assert answer.status_code == 200, answer.text
