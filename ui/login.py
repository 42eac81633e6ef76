"""The door of the page: the login form, and requests that a foreign web site makes a visitor's browser send."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import urlsplit

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..core.errors import UserError
from . import pieces
from .access import Access
from .accounts import COOKIE, LIFETIME
from .theme import logo

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def add_login(app: FastAPI, access: Access) -> None:
    """Give the application a login form at /login, /logout, and the way to the form for whoever is not inside."""

    @app.get("/login", response_class=HTMLResponse)
    def form(request: Request) -> Response:
        if access.visitor(request) is not None:
            return RedirectResponse("./", 303)
        return HTMLResponse(_form(_next(request.query_params.get("next", ""))))

    @app.post("/login", response_class=HTMLResponse)
    def enter(
        request: Request,
        username: str = Form("", max_length=200),
        password: str = Form("", max_length=1000),
        after: str = Form("", max_length=2000),
    ) -> Response:
        try:
            token = access.accounts.enter(username.strip(), password, request.client.host if request.client else "")
        except UserError as error:
            return HTMLResponse(_form(_next(after), str(error)), 429)
        if token is None:
            return HTMLResponse(_form(_next(after), "The name or the password is wrong."), 401)
        # A program does not ask for a page, and takes a redirection for a refusal (gradio_client does).
        browser = "text/html" in request.headers.get("accept", "")
        response: Response = RedirectResponse(f"./{_next(after)}", 303) if browser else JSONResponse({"success": True})
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, token, max_age=LIFETIME, httponly=True, samesite="lax", secure=secure)
        return response

    @app.post("/logout")
    def leave(request: Request) -> Response:
        access.accounts.leave(request.cookies.get(COOKIE))
        response = RedirectResponse("login", 303)
        response.delete_cookie(COOKIE)
        return response


def _next(query: str) -> str:
    """What of an address to come back to is kept: our own query and nothing that could lead elsewhere."""
    return f"?{query.lstrip('?')}" if query and all(one.isalnum() or one in "=&?_-" for one in query) else ""


def _form(after: str, problem: str = "") -> str:
    said = pieces.notice("error", [problem]) if problem else ""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Pointsmith: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>{_CSS}</style></head><body><main><header>{logo()}<h1>Pointsmith</h1></header>
<form method="post" action="login">{said}
<label for="username">Name</label><input id="username" name="username" autocomplete="username" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<input type="hidden" name="after" value="{escape(after)}">
<button type="submit">Log in</button></form></main></body></html>"""


class Guard:
    """Looks at every request before the page does.

    A browser also sends requests that another web site wrote: those name it in `Origin`, and are refused. A page
    without a login that only this machine reaches answers to the loopback's names and to `hosts` alone: a foreign name
    that suddenly points at this machine (DNS rebinding) would make that site's scripts the page's own.
    """

    def __init__(self, app: ASGIApp, access: Access, *, local: bool, hosts: Iterable[str] = ()) -> None:
        self.app, self.access, self.local = app, access, local and access.door == "open"
        self.hosts = frozenset(one.lower() for one in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host = _host(f"//{request.headers.get('host', '')}")
        if self.local and host not in (*_LOOPBACK, *self.hosts):
            return PlainTextResponse(
                f"This page is for this machine only and does not answer to the name {host[:100]!r}. "
                "Start it with --allowed-host NAME if that is a proxy of yours.\n",
                421,
            )
        origin = request.headers.get("origin")
        if origin and request.method not in ("GET", "HEAD", "OPTIONS") and _host(origin) not in (host, *self.hosts):
            return PlainTextResponse(
                "A request from another web site is not answered. "
                "If this is the page behind a proxy of yours, start it with --allowed-host NAME.\n",
                403,
            )
        entering = request.method == "GET" and request.url.path == "/"
        if entering and self.access.door == "accounts" and self.access.visitor(request) is None:
            query = _next(request.url.query)
            return RedirectResponse(f"login?next={query.lstrip('?').replace('&', '%26')}" if query else "login", 303)
        return None


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


_CSS = """
:root { --ground: #f6f7f9; --card: #fff; --text: #222936; --line: #bcc3ce; --ember: #b84d10; --bad: #a3231a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #10141b; --card: #181d27; --text: #eceef2; --line: #3a4354; --bad: #ff9c92; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { width: min(22rem, calc(100vw - 2rem)); }
header { display: flex; align-items: center; gap: .75rem; margin-bottom: 1rem; }
header svg { width: 40px; height: 40px; }
h1 { font-size: 1.4rem; margin: 0; }
form { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.25rem; }
label { display: block; font-weight: 600; margin: .75rem 0 .25rem; }
input { width: 100%; padding: .55rem .7rem; font: inherit; color: inherit; background: var(--ground);
  border: 1px solid var(--line); border-radius: 6px; }
input:focus-visible, button:focus-visible { outline: 2px solid var(--ember); outline-offset: 1px; }
button { width: 100%; margin-top: 1.25rem; padding: .65rem; font: inherit; font-weight: 600; color: #fff;
  background: var(--ember); border: 0; border-radius: 6px; cursor: pointer; }
.ps-notice { margin: 0; color: var(--bad); font-weight: 600; }
"""
