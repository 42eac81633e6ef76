"""Whoever is not logged in gets a refusal from every route of the running application, but for those of the door."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .running import routes
from .target import Target

OPEN = re.compile(r"/healthz|/login/?|/logout/?|/favicon\.ico|/manifest\.json|/robots\.txt|(/gradio_api)?/theme\.css"
                  r"|/(static|assets|svelte)/.*|/pwa_icon.*")  # fmt: skip
"""What may be answered: the form itself and what browsers ask for without cookies. None of it is a visitor's."""


@pytest.fixture
def outside(page: Target) -> Iterator[Target]:
    """The page with accounts, from outside; the visitor is inside again afterwards."""
    page.client.cookies.clear()
    yield page
    page.enter()


@pytest.mark.parametrize("page", ["accounts"], indirect=True)
def test_every_route_refuses_whoever_is_not_logged_in(outside: Target) -> None:
    answered, tried = [], 0
    for method, address in sorted(set(routes(outside.client.app))):  # type: ignore[arg-type]
        path = re.sub(r"\{(\w+)(:\w+)?\}", "x", address)
        if OPEN.fullmatch(path):
            continue
        for written in (path, f"/{path}", path + "/", path.replace("/gradio_api", "/gradio_api/")):
            answer = outside.client.request(method, f"http://127.0.0.1:7860{written}", follow_redirects=False,
                                            **({"json": {"data": []}} if method == "POST" else {}))  # fmt: skip
            tried += 1
            to_login = answer.status_code in (302, 303, 307) and "login" in answer.headers["location"]
            elsewhere = answer.status_code == 307 and answer.headers["location"].rstrip("/").endswith(path.rstrip("/"))
            if answer.status_code not in (401, 403, 404, 405) and not to_login and not elsewhere:
                answered.append((method, written, answer.status_code, answer.text[:80]))
    assert tried > 150 and not answered, answered


@pytest.mark.parametrize("page", ["accounts"], indirect=True)
def test_every_event_refuses_whoever_is_not_logged_in(outside: Target) -> None:
    for event in outside.running.events:
        for path in ("/gradio_api/run/predict", "/gradio_api/queue/join", f"/gradio_api/call/{event.name}"):
            body = {"data": [None] * len(event.components), "fn_index": event.index, "session_hash": "x"}
            assert outside.running.post(path, body).status == 401, (event.name, path)


@pytest.mark.parametrize("page", ["accounts"], indirect=True)
def test_the_same_requests_are_answered_after_a_login(page: Target) -> None:
    """The honest twin."""
    page.enter()
    assert page.client.get("/config").status_code == 200
    assert page.running.call(page.running.event("status"), ["0" * 24]).status == 500  # no such run, told to the visitor
    path = page.running.upload("mine.xyz", b"0 0 0\n")
    assert page.client.get(f"/gradio_api/file={path}").text == "0 0 0\n"
