"""The login form: a name and a password, or the start token of a page without accounts."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Annotated

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from ..core.errors import UserError
from . import pieces
from .access import Access
from .accounts import COOKIE, LIFETIME
from .theme import logo


def add_login(app: FastAPI, access: Access) -> None:
    """Give the application a login form at /login, /logout, and the way to the form for whoever is not inside."""
    # Hashing a password takes 50 ms of a processor: never more than two, and never on the event loop or its threads.
    hashing = ThreadPoolExecutor(2, thread_name_prefix="login")

    @app.get("/login", response_class=HTMLResponse)
    def form(request: Request) -> Response:
        if access.visitor(request) is not None:
            return RedirectResponse("./", 303)
        return HTMLResponse(_form(returning_query(request.query_params.get("next", ""))))

    @app.post("/login", response_class=HTMLResponse)
    async def enter(
        request: Request,
        username: Annotated[str, Form(max_length=200)] = "",
        password: Annotated[str, Form(max_length=1000)] = "",
        after: Annotated[str, Form(max_length=2000)] = "",
    ) -> Response:
        address = request.client.host if request.client else ""
        try:
            token = await asyncio.get_running_loop().run_in_executor(
                hashing, access.accounts.enter, username.strip(), password, address
            )
        except UserError as error:
            return HTMLResponse(_form(returning_query(after), str(error)), 429)
        if token is None:
            return HTMLResponse(_form(returning_query(after), "The name or the password is wrong."), 401)
        # A program does not ask for a page, and takes a redirection for a refusal (gradio_client does).
        browser = "text/html" in request.headers.get("accept", "")
        response: Response = (
            RedirectResponse(f"./{returning_query(after)}", 303) if browser else JSONResponse({"success": True})
        )
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, token, max_age=LIFETIME, httponly=True, samesite="lax", secure=secure)
        return response

    @app.post("/logout")
    def leave(request: Request) -> Response:
        access.accounts.leave(request.cookies.get(COOKIE))
        response = RedirectResponse("login", 303)
        response.delete_cookie(COOKIE)
        return response


def returning_query(query: str) -> str:
    """What of an address to come back to is kept: our own query and nothing that could lead elsewhere."""
    return f"?{query.lstrip('?')}" if query and all(one.isalnum() or one in "=&?_-" for one in query) else ""


def add_token_login(app: FastAPI, access: Access) -> None:
    """Give a page with a start token a form at /login for it, and a /logout."""

    @app.get("/login", response_class=HTMLResponse)
    def form(request: Request) -> Response:
        if access.visitor(request) is not None:
            return RedirectResponse("./", 303)
        return HTMLResponse(_token_form())

    @app.post("/login", response_class=HTMLResponse)
    def enter(request: Request, token: Annotated[str, Form(max_length=1000)] = "") -> Response:
        if not access.token.matches(token.strip()):
            return HTMLResponse(_token_form("This is not the token of this page."), 401)
        response = RedirectResponse("./", 303)
        access.token.set_cookie(response, secure=request.url.scheme == "https")
        return response


def _token_form(problem: str = "") -> str:
    return _page(f"""<p>This page was started with a token.
Open the address that the start printed, or enter the token.</p>
{_alert(problem)}<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" required autofocus>""")


def _form(after: str, problem: str = "") -> str:
    return _page(f"""{_alert(problem)}
<label for="username">Name</label><input id="username" name="username" autocomplete="username" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<input type="hidden" name="after" value="{escape(after)}">""")


def _alert(problem: str) -> str:
    return pieces.notice("error", [problem]) if problem else ""


def _page(fields: str) -> str:
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Pointsmith: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>{_CSS}</style></head><body><main><header>{logo()}<h1>Pointsmith</h1></header>
<form method="post" action="login">{fields}
<button type="submit">Log in</button></form></main></body></html>"""


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
