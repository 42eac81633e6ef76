"""The running application, asked for what it offers: events, their inputs, routes and settings that hold paths."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from pointsmith.core.data.config import DataConfig
from starlette.routing import Mount

HOST = "127.0.0.1:7860"


@dataclass(frozen=True)
class Event:
    """A function that the page lets a browser call, with the component behind each of its inputs."""

    index: int
    name: str
    public: bool
    components: tuple[int, ...]
    types: tuple[str, ...]
    defaults: tuple[Any, ...]

    def arguments(self, at: int, value: Any, *, filled: bool = False) -> list[Any]:
        """Return arguments with `value` at one position, and nothing (or what the page shows) at the others."""
        arguments = list(self.defaults) if filled else [None] * len(self.components)
        arguments[at] = value
        return arguments


@dataclass(frozen=True)
class Answer:
    """Status and text of an answer."""

    status: int
    text: str


class Running:
    """An application in this process, called without the detour of an HTTP client, which takes most of the time."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        config = client.get("/config").json()
        components = {component["id"]: component for component in config["components"]}
        self.events = [
            Event(
                event["id"],
                str(event["api_name"]),
                event.get("api_visibility") == "public",
                tuple(event["inputs"]),
                tuple(components[number]["type"] for number in event["inputs"]),
                tuple(components[number]["props"].get("value") for number in event["inputs"]),
            )
            for event in config["dependencies"]
            if event["backend_fn"]
        ]
        self.components: dict[int, str] = {number: component["type"] for number, component in components.items()}

    def event(self, name: str) -> Event:
        return next(event for event in self.events if event.name == name)

    def call(self, event: Event, arguments: list[Any], event_data: Any = None, session: str = "battery") -> Answer:
        """Call an event as the page's script does; Gradio answers 500 where it was refused."""
        body = {"data": arguments, "fn_index": event.index, "session_hash": session, "event_data": event_data}
        return self.post("/gradio_api/run/predict", body)

    def post(self, path: str, content: Any) -> Answer:
        """Send JSON and return the whole answer, within a minute."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        cookies = "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())
        headers = [
            (b"host", HOST.encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *([(b"cookie", cookies.encode())] if cookies else []),
        ]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 7860), "state": {},
        }  # fmt: skip
        messages: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        async def run() -> None:
            waiting = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive() -> dict[str, Any]:
                return waiting.pop() if waiting else {"type": "http.disconnect"}

            try:
                await self.client.app(scope, receive, send)  # type: ignore[arg-type]
            except Exception:
                # Raised again for the server's log, once the answer is out; without an answer it is a fault.
                if not messages:
                    raise

        assert self.client.portal is not None
        self.client.portal.call(run)
        text = b"".join(message.get("body", b"") for message in messages[1:])
        return Answer(messages[0]["status"], text.decode(errors="replace"))

    def upload(self, name: str, content: bytes) -> str:
        """Send a file as the page does; return the path by which the page names it."""
        answer = self.client.post("/gradio_api/upload", files={"files": (name, content)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()[0])


def inputs(events: list[Event]) -> Iterator[tuple[Event, int]]:
    """Every input of every event whose value comes with the request: a state stays on the server."""
    for event in events:
        for at, kind in enumerate(event.types):
            if kind != "state":
                yield event, at


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and address of an application, those of mounted and included applications too."""

    def walk(found: list[Any], prefix: str) -> Iterator[tuple[str, str]]:
        for route in found:
            if isinstance(route, Mount):
                yield from walk(list(route.routes), prefix + route.path)
            elif hasattr(route, "effective_candidates"):  # FastAPI's wrapper of an included router
                yield from walk(list(route.effective_candidates()), prefix)
            else:
                for method in sorted(getattr(route, "methods", None) or {"GET"}):
                    yield method, prefix + route.path

    yield from walk(list(app.routes), "")


def path_settings() -> Iterator[tuple[str, str]]:
    """The kind and the field of every setting of a data set that is a path."""
    annotation, *_ = typing.get_args(DataConfig)
    for model in typing.get_args(annotation):
        kind = model.model_fields["kind"].default
        for name, field in model.model_fields.items():
            if _holds_path(field.annotation):
                yield kind, name


def _holds_path(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return any(_holds_path(one) for one in typing.get_args(annotation))
    return annotation is Path
