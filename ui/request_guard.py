"""The guard before the whole page: who may send a request, from where, to which address, and how large it may be.

It decides on the request line and the headers alone, before a byte of the body is read, and then bounds the body while
it arrives. Everything that it refuses is answered at once, and the connection is closed.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import Access, on_spaces
from .json_bounds import JsonBounds, TooComplexError
from .login import returning_query

UPLOAD_BYTES = 2 * 2**30
"""Largest upload; what the envelope of a form needs comes on top."""
_ENVELOPE_BYTES = 2**20
EVENT_BYTES = 8 * 2**20
"""Largest body of an event."""
FILE_EVENT_BYTES = 90 * 2**20
"""Largest body of `predict_file`, whose file of 64 MB comes in base64."""
_LOGIN_BYTES = 16 * 2**10
_BUFFERED_BYTES = 256 * 2**20
"""Bytes of all bodies that are being received at the same time."""
_TARGET_BYTES = 8 * 2**10
_SILENCE_SECONDS = 30.0
_SLOWEST = 8 * 2**10
"""Bytes a second that a body must bring, on average, after the first `_SILENCE_SECONDS`."""
_AT_ONCE = {"request": 300, "body": 64, "upload": 16}
"""Requests, bodies and uploads of one client at the same time; the streams of open pages count as requests."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PORTS = {"http": 80, "https": 443}
_FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix", b"forwarded")
_UPLOAD = "/gradio_api/upload"
_MCP = "/gradio_api/mcp"
_STATIC = re.compile(r"/(?:assets|static|svelte)/.+")
_SERVED = re.compile(
    r"/|/config/?|/healthz|/log(?:in|out)(?:/huggingface|/callback)?|/theme\.css|/favicon\.ico|/manifest\.json"
    r"|/robots\.txt|/(?:assets|static|svelte)/.+|/export/[^/]+\.zip|/sweep/[^/]+/[^/]+"
    r"|/gradio_api/(?:info|user|app_id|login_check|startup-events|openapi\.json|theme\.css|reset|cancel)/?"
    r"|/gradio_api/(?:upload|upload_progress|queue/(?:join|data|status)|heartbeat/[^/]+)"
    r"|/gradio_api/(?:run|api)/[^/]+/?|/gradio_api/call/[^/]+(?:/[^/]+){0,2}/?|/gradio_api/file[=/].+"
    r"|/gradio_api/mcp(?:/.*)?"
)
"""The addresses of the page. Gradio has more (deep links, monitoring, a code editor), which nothing here uses."""
_PUBLIC = {
    ("GET", "/healthz"), ("HEAD", "/healthz"), ("GET", "/login"), ("HEAD", "/login"), ("POST", "/login"),
    ("POST", "/logout"), ("GET", "/favicon.ico"), ("GET", "/manifest.json"),
}  # fmt: skip
"""What is answered without a login. Browsers fetch the last two without cookies."""
_PREDICT_FILE = re.compile(r"/gradio_api/(?:(?:run|api|call|call/v2)/predict_file/?|queue/join)")


@dataclass(frozen=True)
class Site:
    """An allowed name of the page: a host, and a scheme and a port where they are named."""

    host: str
    scheme: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Site | None:
        """Return the site of `NAME`, `NAME:PORT` or `SCHEME://NAME[:PORT]`, or of an origin; None for none of them."""
        try:
            parts = urlsplit(text if "://" in text else f"//{text}")
            if not parts.hostname or parts.path.strip("/") or parts.username is not None:
                return None
            return cls(parts.hostname.lower(), parts.scheme.lower() or None, parts.port)
        except ValueError:
            return None

    def allows(self, origin: Site) -> bool:
        """Whether the origin is at this site: where no port is named, the scheme's own."""
        if origin.host != self.host or self.scheme not in (None, origin.scheme):
            return False
        return _port(origin, origin.scheme) == _port(self, origin.scheme)


def _port(site: Site, scheme: str | None) -> int | None:
    return site.port or _PORTS.get(scheme or "")


class Guard:
    """ASGI middleware that every request to the page passes first.

    `hosts` are names by which proxies call the page, as `NAME`, `NAME:PORT` or `SCHEME://NAME[:PORT]`. Without any,
    headers that a proxy would add are dropped. A page without accounts that only this machine reaches (`local`) answers
    to the loopback's names and to `hosts` alone: a foreign name that suddenly points at this machine (DNS rebinding)
    would make that site's scripts the page's own. `large_events` counts the `predict_file` events that are waiting, and
    `is_predict_file` knows their function by its number.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        *,
        local: bool,
        hosts: Iterable[str] = (),
        large_events: Callable[[], int] = lambda: 0,
        is_predict_file: Callable[[object], bool] = lambda fn_index: False,
    ) -> None:
        self.app, self.access, self.local = app, access, local and access.door == "open"
        self.hosts = tuple(site for site in map(Site.parse, hosts) if site is not None)
        self.large_events, self.is_predict_file = large_events, is_predict_file
        self._active: Counter[tuple[str, str]] = Counter()
        self._buffered = 0
        self._frames = "frame-ancestors 'self'" + (" https://huggingface.co https://*.hf.space" if on_spaces() else "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = self._trusted(scope)
        answer = _Answer(send, self._headers(scope))
        request = Request(scope)
        visitor: str | None = None
        refusal = self._refusal(request)
        if refusal is None:
            visitor = self.access.visitor(request)
            refusal = self._entry(request, visitor) or self._declared_too_large(request)
        if refusal is not None:
            await _close(refusal)(scope, receive, answer.send)
            return
        await self._admit(scope, receive, answer, visitor or (request.client.host if request.client else ""))

    # --- who, from where, to which address ---

    def _trusted(self, scope: Scope) -> Scope:
        """Return the scope without headers of proxies that the operator did not name, and with a named one's scheme."""
        headers = Headers(scope=scope)
        forwarded = Site.parse(headers.get("x-forwarded-host", "").split(",")[0].strip())
        known = bool(self.hosts) and (
            "x-forwarded-host" not in headers
            or (forwarded is not None and any(forwarded.host == site.host for site in self.hosts))
        )
        if not known:
            kept = [(name, value) for name, value in scope["headers"] if name.lower() not in _FORWARDED]
            return {**scope, "headers": kept} if len(kept) < len(scope["headers"]) else scope
        scheme = headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
        return {**scope, "scheme": scheme} if scheme in _PORTS else scope

    def _refusal(self, request: Request) -> Response | None:
        path = request.scope["path"]
        mcp = path.startswith(_MCP)
        if request.method not in (("GET", "POST", "DELETE") if mcp else ("GET", "HEAD", "POST")):
            return _text(405, "This method is not answered here.")
        if len(request.scope.get("raw_path", b"")) + len(request.scope["query_string"]) > _TARGET_BYTES:
            return _text(414, "The address is too long.")
        if not path.startswith("/") or any(ord(one) < 32 or one == "\\" for one in path) or not _is_plain(path):
            return _text(404, "This is no address of the page.")
        own = Site.parse(request.headers.get("host", ""))
        host = own.host if own else ""
        if self.local and host not in (*_LOOPBACK, *(site.host for site in self.hosts)):
            return _text(
                421,
                f"This page is for this machine only and does not answer to the name {host[:100]!r}. "
                "Start it with --allowed-host NAME if that is a proxy of yours.",
            )
        if not self._from_here(request, own):
            return _text(
                403,
                "A request from another web site is not answered. "
                "If this is the page behind a proxy of yours, start it with --allowed-host NAME.",
            )
        return None

    def _from_here(self, request: Request, own: Site | None) -> bool:
        """Whether this page itself, or no web site at all, had the request sent."""
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        changes = request.method not in ("GET", "HEAD")
        if site in ("cross-site", "same-site"):
            # A link from elsewhere may be followed; nothing else may be sent from there.
            return not changes and (request.headers.get("sec-fetch-mode") == "navigate" or on_spaces())
        if origin is None or not changes:
            return True
        sent = Site.parse(origin)
        if sent is None or sent.scheme is None or own is None:
            return False
        exact = Site(own.host, request.url.scheme, own.port)
        if exact.allows(sent) or any(name.allows(sent) for name in self.hosts):
            return True
        if site != "same-origin":
            return False
        # The browser itself has compared the two; what it saw of scheme and port, a proxy may have changed since.
        return any(sent.host == name.host for name in self.hosts) or (sent.host, sent.port) == (own.host, own.port)

    def _entry(self, request: Request, visitor: str | None) -> Response | None:
        """Return the answer to a request with a token in its address, or without a login; None for all others."""
        path = request.scope["path"]
        token = request.query_params.get("token") if self.access.token and path == "/" else None
        if token is not None and self.access.token.matches(token):
            rest = returning_query(request.url.remove_query_params("token").query)
            response: Response = RedirectResponse(f"./{rest}", 303)
            self.access.token.set_cookie(response, secure=request.url.scheme == "https")
            return response
        if visitor is not None:
            return None if _SERVED.fullmatch(path) else _text(404, "This is no address of the page.")
        if (request.method, path) in _PUBLIC:
            return None
        if path == "/" and request.method in ("GET", "HEAD"):
            query = returning_query(request.url.query) if token is None else ""
            return RedirectResponse(f"login?next={query.lstrip('?').replace('&', '%26')}" if query else "login", 303)
        return JSONResponse({"detail": {"error": "Not authenticated", "auth_message": None}}, 401)

    # --- bodies ---

    def _declared_too_large(self, request: Request) -> Response | None:
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal():
            return _text(400, "The length of the request is no number.")
        return _too_large() if int(declared) > _limit(request.method, request.scope["path"]) else None

    async def _admit(self, scope: Scope, receive: Receive, answer: _Answer, client: str) -> None:
        """Pass the request on, unless the client has too many of its kind under way."""
        upload = scope["path"] == _UPLOAD and scope["method"] == "POST"
        kind = "upload" if upload else "request"
        if self._active[kind, client] >= _AT_ONCE[kind]:
            await _close(_text(429, "Too many requests at the same time."))(scope, receive, answer.send)
            return
        self._active[kind, client] += 1
        try:
            if upload or scope["method"] in ("GET", "HEAD"):
                await self._stream(scope, receive, answer)
            else:
                await self._buffer(scope, receive, answer, client)
        finally:
            self._release(kind, client)

    def _release(self, kind: str, client: str) -> None:
        self._active[kind, client] -= 1
        if not self._active[kind, client]:
            del self._active[kind, client]

    async def _stream(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Pass the body on as it comes, up to its limit."""
        body = _Body(receive, _limit(scope["method"], scope["path"]))

        async def bounded() -> Message:
            try:
                return await body.receive()
            except _Refused as refused:
                await answer.close_with(refused.response, scope)
                return {"type": "http.disconnect"}

        try:
            await self.app(scope, bounded, answer.send)
        except ClientDisconnect:
            pass  # the client is gone, or was refused above

    async def _buffer(self, scope: Scope, receive: Receive, answer: _Answer, client: str) -> None:
        """Read the whole body first, within its bounds, so that nothing parses one that is too large or too deep."""
        if self._active["body", client] >= _AT_ONCE["body"]:
            await _close(_text(429, "Too many requests at the same time."))(scope, receive, answer.send)
            return
        self._active["body", client] += 1
        body = _Body(receive, _limit(scope["method"], scope["path"]))
        chunks, bounds, taken = [], JsonBounds(), 0
        try:
            more = True
            while more:
                message = await body.receive()
                if message["type"] == "http.disconnect":
                    return
                chunk, more = message.get("body", b""), message.get("more_body", False)
                if self._buffered + len(chunk) > _BUFFERED_BYTES:
                    raise _Refused(_text(503, "Too much is being sent at the same time. Try again in a moment."))
                self._buffered, taken = self._buffered + len(chunk), taken + len(chunk)
                if scope["path"] != "/login":
                    bounds.feed(chunk)
                chunks.append(chunk)
            whole = b"".join(chunks)
            chunks.clear()
            if len(whole) > EVENT_BYTES:
                await self._check_large(scope["path"], whole)
            replayed = [{"type": "http.request", "body": whole, "more_body": False}]
            del whole

            async def again() -> Message:
                return replayed.pop() if replayed else await receive()

            await self.app(scope, again, answer.send)
        except _Refused as refused:
            await answer.close_with(refused.response, scope)
        except TooComplexError:
            await answer.close_with(_text(413, "The request nests too deep or holds too many values."), scope)
        finally:
            self._buffered -= taken
            self._release("body", client)

    async def _check_large(self, path: str, body: bytes) -> None:
        """Refuse a large body that is not for `predict_file`, or that comes while several of these are waiting."""
        if self.large_events() >= 3:
            raise _Refused(_text(503, "Too much is being sent at the same time. Try again in a moment."))
        if path.endswith("queue/join"):
            try:
                content = await asyncio.to_thread(json.loads, body)
            except ValueError:
                raise _Refused(_text(422, "The request is no JSON.")) from None
            if not isinstance(content, dict) or not self.is_predict_file(content.get("fn_index")):
                raise _Refused(_too_large())

    def _headers(self, scope: Scope) -> dict[str, str]:
        headers = {
            "content-security-policy": f"{self._frames}; object-src 'none'; base-uri 'self'",
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
        }
        # The static files carry a hash in their names, and are the same for everybody.
        if not _STATIC.fullmatch(scope["path"]):
            headers["cache-control"] = "no-store"
        return headers


class _Refused(Exception):
    """A body is refused while it arrives."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class _Body:
    """Receives a body of limited size that must not come too slowly."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._started = receive, limit, time.monotonic()
        self._size, self._complete = 0, False

    async def receive(self) -> Message:
        if self._complete:  # from here on it is waited for the client to leave
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), _SILENCE_SECONDS)
        except asyncio.TimeoutError:
            raise _Refused(_text(408, "The request came too slowly.")) from None
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > self._limit:
            raise _Refused(_too_large())
        if not self._complete and self._size < _SLOWEST * (time.monotonic() - self._started - _SILENCE_SECONDS):
            raise _Refused(_text(408, "The request came too slowly."))
        return message


class _Answer:
    """Sends an answer with the page's headers; at most one."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send, self._headers = send, headers
        self._started = self._closed = False

    async def send(self, message: Message) -> None:
        if self._closed:
            return
        if message["type"] == "http.response.start":
            self._started = True
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers[name] = value
        await self._send(message)

    async def close_with(self, response: Response, scope: Scope) -> None:
        """Send this answer unless another one has begun, and nothing after it."""
        if not self._started:
            await _close(response)(scope, _nothing, self.send)
        self._closed = True


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _limit(method: str, path: str) -> int:
    if method in ("GET", "HEAD"):
        return _LOGIN_BYTES
    if path == _UPLOAD:
        return UPLOAD_BYTES + _ENVELOPE_BYTES
    if path in ("/login", "/logout"):
        return _LOGIN_BYTES
    return FILE_EVENT_BYTES if _PREDICT_FILE.fullmatch(path) else EVENT_BYTES


def _is_plain(path: str) -> bool:
    """Whether a path has no second spelling: no empty segments, and none that lead up."""
    return "//" not in path and not {".", ".."} & set(path.split("/"))


def _text(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status)


def _too_large() -> Response:
    return _text(413, "The request is too large.")


def _close(response: Response) -> Response:
    if response.status_code >= 400:
        response.headers["connection"] = "close"
    return response
