"""The guard before the page: who, from where, to which address, how large; over a stub and over a real socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pointsmith.ui import request_guard
from pointsmith.ui.access import Access
from pointsmith.ui.accounts import Accounts, hashed
from pointsmith.ui.json_bounds import MAX_DEPTH, MAX_VALUES, JsonBounds, TooComplexError
from pointsmith.ui.request_guard import Guard, Site
from pointsmith.ui.start_token import StartToken

HERE = "http://127.0.0.1:7860"
EVENT = "/gradio_api/run/status"


class Stub:
    """An application that takes every request, and counts the ones that reach it and the bytes they bring."""

    def __init__(self) -> None:
        self.requests, self.bytes = 0, 0
        self.app = FastAPI()

        @self.app.api_route("/{path:path}", methods=["GET", "HEAD", "POST"])
        async def take(path: str, request: Request) -> dict[str, Any]:
            self.requests += 1
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
            self.bytes += size
            return {"size": size, "scheme": request.url.scheme, "host": request.headers.get("x-forwarded-host")}


def guarded(access: Access, **options: Any) -> tuple[Stub, TestClient]:
    stub = Stub()
    app = Guard(stub.app, access, **{"local": True, **options})
    return stub, TestClient(app, base_url=HERE)


def opened(**options: Any) -> tuple[Stub, TestClient]:
    return guarded(Access(Path("uploads")), **options)


def locked(**options: Any) -> tuple[Stub, TestClient]:
    return guarded(Access(Path("uploads"), "accounts", Accounts({"ada": hashed("ada's password")}), ()), **options)


# --- who and where to ---


@pytest.mark.parametrize(
    "path",
    [
        "/config", "/gradio_api/run/status", "//gradio_api/run/status", "/gradio_api//run/status", "/login/",
        "/%6cogin/../config", "/healthz/../config", "/healthz%2f..%2fconfig", "/login%00", "/healthz?x=/config/..",
        "/gradio_api/file=/etc/passwd", "/assets/x.js", "/LOGIN", "/login;x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "OPTIONS", "TRACE", "FOO"])
def test_no_address_and_no_method_leads_past_the_login(path: str, method: str) -> None:
    stub, client = locked()
    answer = client.request(method, HERE + path, follow_redirects=False)
    public = path.startswith("/healthz?") and method in ("GET", "HEAD")
    assert public or (answer.status_code >= 400 and stub.requests == 0)


def test_what_is_public_and_what_the_page_serves_passes() -> None:
    _, client = locked()
    for path in ("/healthz", "/login", "/favicon.ico"):
        assert client.get(path).status_code == 200
    _stub, client = opened()
    for path in ("/", "/config", "/assets/a/b.js", "/export/abc.zip", "/gradio_api/file=/tmp/gradio/a b.png"):
        assert client.get(path).status_code == 200, path
    for path in ("/monitoring", "/gradio_api/deep_link", "/gradio_api/proxy=x", "/gradio_api/vibe-code"):
        assert client.get(path).status_code == 404, path


# --- where from ---


@pytest.mark.parametrize(
    "origin",
    ["http://127.0.0.1:3000", "https://127.0.0.1:7860", "http://127.0.0.1", "http://localhost:7860", "null", "file://",
     "http://127.0.0.1:7860.evil.org", "http://127.0.0.1:7860@evil.org", "http://evil.org", "//127.0.0.1:7860"],
)  # fmt: skip
def test_another_port_scheme_or_host_is_another_origin(origin: str) -> None:
    stub, client = opened()
    answer = client.post(EVENT, json={}, headers={"origin": origin})
    assert answer.status_code == 403 and stub.requests == 0
    assert "access-control-allow-origin" not in client.get("/config", headers={"origin": origin}).headers


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_the_browser_says_of_the_sender_counts(site: str) -> None:
    stub, client = opened()
    assert client.post(EVENT, json={}, headers={"sec-fetch-site": site}).status_code == 403
    assert client.get("/config", headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert stub.requests == 0
    assert client.get("/", headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"}).status_code == 200


def test_the_page_itself_and_its_proxies_may_send() -> None:
    _, client = opened()
    for headers in ({}, {"origin": HERE}, {"origin": HERE, "sec-fetch-site": "same-origin"}):
        assert client.post(EVENT, json={}, headers=headers).status_code == 200
    for host, origin in (
        ("lab.org", "https://lab.org"),
        ("lab.org:8443", "https://lab.org:8443"),
        ("https://lab.org", "https://lab.org:443"),
    ):
        _, client = opened(hosts=[host])
        assert client.post(EVENT, json={}, headers={"origin": origin}).status_code == 200
        assert client.post(EVENT, json={}, headers={"origin": "https://lab.org:9"}).status_code == 403
    assert opened(hosts=["https://lab.org"])[1].post(EVENT, headers={"origin": "http://lab.org"}).status_code == 403


def test_headers_of_proxies_count_only_where_one_is_named() -> None:
    forwarded = {"x-forwarded-host": "lab.org", "x-forwarded-proto": "https"}
    assert opened()[1].get("/config", headers=forwarded).json() == {"size": 0, "scheme": "http", "host": None}
    answer = opened(hosts=["lab.org"])[1].get("/config", headers=forwarded)
    assert answer.json() == {"size": 0, "scheme": "https", "host": "lab.org"}
    evil = opened(hosts=["lab.org"])[1].get("/config", headers={**forwarded, "x-forwarded-host": "evil.org"})
    assert evil.json()["host"] is None


@pytest.mark.parametrize("text", ["", "a b/c", "http://u@x", "x:port", "/etc"])
def test_what_is_no_site(text: str) -> None:
    site = Site.parse(text)
    assert site is None or site.host == "a b"


def test_each_answer_has_the_headers() -> None:
    for client in (opened()[1], locked()[1]):
        for path in ("/", "/config", "/login", "/nothing"):
            headers = client.get(path, follow_redirects=False).headers
            assert "frame-ancestors 'self'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert "cache-control" not in opened()[1].get("/assets/x.js").headers


# --- bodies ---


def fed(body: bytes, size: int) -> JsonBounds:
    bounds = JsonBounds()
    for at in range(0, len(body), size):
        bounds.feed(body[at : at + size])
    return bounds


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 16])
def test_bounds_see_through_strings_at_any_cut(size: int) -> None:
    content = {"a": '[[[,,,"\\', "b\\": ['x\\"]', [1, 2, {"c": []}]], "": "\\\\"}
    bounds = fed(json.dumps(content).encode(), size)
    assert bounds.depth == 0 and bounds.values == 5 + 5
    hidden = b'{"a": "' + b"]" * 200 + b'", "b": ' + b"[" * (MAX_DEPTH + 1)
    with pytest.raises(TooComplexError):
        fed(hidden, size)


def test_bounds_stay_linear_on_quotes_and_backslashes() -> None:
    began = time.process_time()
    for unit in (b'\\"', b'"', b"\\", b'"\\'):
        fed(b'"' + unit * (1 << 19), 1 << 16)
    assert time.process_time() - began < 10


def test_bodies_that_are_too_large_or_too_deep_reach_nothing() -> None:
    stub, client = opened()
    for body in (b"[]," * (MAX_VALUES + 1), b"[" * 100_000, b'"' + b"x" * request_guard.EVENT_BYTES + b'"'):
        assert client.post(EVENT, content=body).status_code == 413
        assert client.post(EVENT, content=iter([body])).status_code == 413  # without a length
    assert client.post("/login", content=b"x" * 20_000).status_code == 413
    assert client.post("/gradio_api/upload", headers={"content-length": str(3 << 30)}).status_code == 413
    assert stub.requests == 0
    points = {"data": ["a", [[0.123456789] * 3] * 16_000]}
    assert client.post("/gradio_api/call/predict", json=points).status_code == 200
    assert client.post("/gradio_api/upload", content=b"x" * (20 << 20)).json()["size"] == 20 << 20


def test_only_predict_file_takes_large_bodies() -> None:
    waiting = [0]
    stub, client = opened(is_predict_file=lambda index: index == 7, large_events=lambda: waiting[0])
    large = "x" * (request_guard.EVENT_BYTES + 1)
    assert client.post("/gradio_api/queue/join", json={"fn_index": 7, "data": [large]}).status_code == 200
    assert client.post("/gradio_api/call/predict_file", json={"data": [large]}).status_code == 200
    assert client.post("/gradio_api/queue/join", json={"fn_index": 8, "data": [large]}).status_code == 413
    assert client.post("/gradio_api/run/predict", json={"fn_index": 7, "data": [large]}).status_code == 413
    waiting[0] = 3
    assert client.post("/gradio_api/call/predict_file", json={"data": [large]}).status_code == 503
    assert stub.requests == 2


# --- the token ---


def test_a_start_token_is_exchanged_for_a_cookie() -> None:
    token = StartToken.random()
    stub, client = guarded(Access(Path("uploads"), token=token))
    assert client.get("/config").status_code == 401 and client.post(EVENT, json={}).status_code == 401
    assert client.get("/?token=wrong", follow_redirects=False).headers["location"] == "login"
    assert client.get("/config", headers={"authorization": "Bearer wrong"}).status_code == 401
    client.cookies.set(token._cookie, "wrong")
    assert client.get("/config").status_code == 401
    client.cookies.clear()
    assert stub.requests == 0
    assert client.post(EVENT, json={}, headers={"authorization": f"Bearer {token.value}"}).status_code == 200
    entered = client.get(f"/?token={token.value}&run=abc", follow_redirects=False)
    assert entered.status_code == 303 and entered.headers["location"] == "./?run=abc"
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and token.value not in cookie
    assert client.get("/config").status_code == 200


# --- on the wire ---


@pytest.fixture(scope="module")
def wire() -> Iterator[tuple[Stub, int]]:
    """The guard of a page with accounts, served by uvicorn."""
    stub, _ = locked()
    app = Guard(
        stub.app, Access(Path("uploads"), "accounts", Accounts({"ada": hashed("ada's password")}), ()), local=True
    )
    door = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    try:
        yield stub, door.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
        door.close()


@pytest.mark.parametrize("target", ["/config", "http://evil.org/config", "*", "evil.org:443"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_stranger_is_answered_before_the_body(wire: tuple[Stub, int], target: str, chunked: bool) -> None:
    stub, port = wire
    length = "transfer-encoding: chunked" if chunked else "content-length: 60000000"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(f"POST {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{length}\r\n\r\n".encode())
        answer = b""
        while chunk := client.recv(65536):  # the server closes
            answer += chunk
    assert (
        answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 404", b"HTTP/1.1 400"))
        and b"connection: close" in answer.lower()
    )
    assert stub.bytes == 0


def test_a_second_request_on_the_line_is_guarded_too(wire: tuple[Stub, int]) -> None:
    stub, port = wire
    head = f"HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(f"GET /healthz {head}\r\nGET /config {head}\r\nGET /healthz {head}\r\n".encode())
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    assert answer.count(b"HTTP/1.1 200") == 1 and answer.count(b"HTTP/1.1 401") == 1 and stub.requests == 1
