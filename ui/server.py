"""The page as a web application: Gradio, the export of adapters, and nothing else that can be fetched."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from gradio.route_utils import CustomCORSMiddleware
from gradio.utils import get_upload_folder
from starlette.background import BackgroundTask
from starlette.routing import Mount
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..core.errors import UserError
from ..worker.scrub import print_secret
from ..worker.store import RunStore
from . import theme
from .access import Access
from .bounded_forms import bound_forms
from .guarded_blocks import serve_safely
from .login import add_login, add_token_login
from .neutral_errors import AnswerError, answer_neutrally
from .page import Page
from .page_sessions import bound_sessions, sweeping
from .request_guard import Guard, Site
from .start_token import StartToken
from .sweep_files import sweep_files
from .upload_cache import UploadGate

UPLOAD_LIMIT = "2gb"
_HEADER_SECONDS = 30.0


def application(
    store: RunStore,
    data_dir: Path,
    access: Access | None = None,
    *,
    local: bool = True,
    hosts: Iterable[str] = (),
    mcp: bool = False,
) -> FastAPI:
    """Return the ASGI application that serves the page of a store, under these rules (none: open to everybody).

    `local` says that only this machine reaches it, `hosts` are names by which proxies call it (see `Guard`). `mcp`
    offers the API as tools of the Model Context Protocol as well. UserError where that cannot be.
    """
    access = access or Access(data_dir / "uploads")
    hosts = [*hosts, *_space_hosts()]
    for host in hosts:
        if Site.parse(host) is None:
            raise UserError(
                "--allowed-host is no name of a host", got=host[:100], expected="NAME, NAME:PORT or https://NAME"
            )
    if mcp:
        _require_mcp(access)
    bound_forms()
    app = FastAPI(title="Pointsmith", docs_url=None, redoc_url=None, openapi_url=None)
    exports = data_dir / "exports"
    exports.mkdir(parents=True, exist_ok=True)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    def export(run_id: str, request: Request) -> FileResponse:
        visitor = access.visitor(request)
        if visitor is None:
            raise AnswerError(401, "Log in first.")
        runs = access.runs_of(store, visitor)
        try:
            run = runs.get(run_id)
        except UserError as error:
            raise AnswerError(404, str(error)) from error
        if run.state != "succeeded":
            raise AnswerError(409, "This run has no adapter: it did not finish.")
        try:
            place = runs.bring(run, str((run.result or {}).get("adapter") or "adapter"))
        except UserError as error:
            raise AnswerError(503, str(error)) from error
        draft = packed(place, exports)
        return FileResponse(
            draft, filename=f"pointsmith-{run.id[:8]}.zip", background=BackgroundTask(draft.unlink, missing_ok=True)
        )

    if access.door == "accounts":
        add_login(app, access)
    elif access.token:
        add_token_login(app, access)
    page = Page(store, data_dir, access)
    if mcp and access.token:
        # For events with a queue Gradio's tools call the page over HTTP, without the token.
        for fn in page.blocks.fns.values():
            fn.queue = fn.queue and fn.api_name not in ("predict", "predict_file")
    gr.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        max_file_size=UPLOAD_LIMIT,
        show_error=False,  # of errors that are not meant for the visitor
        ssr_mode=False,
        mcp_server=mcp,
        run_history=False,
        footer_links=[],
        theme=theme.theme(),
        css=theme.css(),
        head=theme.head(),
        # Nothing is served by its path but what Gradio's cache holds; the data folder not even if the cache lay in it.
        allowed_paths=[],
        blocked_paths=[str(data_dir)],
        auth_dependency=access.visitor if access.asks else None,
        app_kwargs={
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
            "lifespan": lambda _: sweeping(page.blocks),
        },
    )
    serve_safely(page.blocks)
    # Within Gradio's own application, because there, on Spaces, the session is.
    inner = next(route.app for route in app.routes if isinstance(route, Mount))
    inner.get("/export/{run_id}.zip")(export)
    inner.get("/sweep/{sweep_id}/{name}")(sweep_files(store, access))
    # It lets pages of this machine's other ports read answers with this page's cookies.
    inner.user_middleware = [one for one in inner.user_middleware if one.cls is not CustomCORSMiddleware]
    bound_sessions(inner)
    for one in (app, inner):
        answer_neutrally(one)
    blocks = page.blocks
    app.add_middleware(UploadGate, access=access, cache=Path(get_upload_folder()), uploads=data_dir / "uploads")
    app.add_middleware(
        Guard,
        access=access,
        local=local,
        hosts=hosts,
        large_events=lambda: sum(
            event.fn.api_name == "predict_file" for event in list(blocks._queue.event_ids_to_events.values())
        ),
        is_predict_file=lambda index: (
            isinstance(index, int) and index in blocks.fns and blocks.fns[index].api_name == "predict_file"
        ),
    )
    return app


def _require_mcp(access: Access) -> None:
    """Refuse to offer tools where their package is absent, or where a login guards the page: they would pass it by."""
    if importlib.util.find_spec("mcp") is None:
        raise UserError("--mcp needs the package mcp", remedy="pip install -e '.[mcp]'")
    if access.door != "open":
        raise UserError("--mcp and a login do not go together", remedy="Use gradio_client with a name and a password")


def _space_hosts() -> list[str]:
    return [one.strip() for one in os.environ.get("SPACE_HOST", "").split(",") if one.strip()]


def packed(folder: Path, where: Path) -> Path:
    """Write a folder's files into a new zip below `where`, whole or not at all; return it. The caller removes it."""
    handle, name = tempfile.mkstemp(prefix="adapter-", suffix=".zip", dir=where)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, f"{folder.name}/{path.name}")
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


class _Announcing(uvicorn.Server):
    """Says where the page is, once it answers."""

    def __init__(self, config: uvicorn.Config, query: str = "") -> None:
        super().__init__(config)
        self._query = query

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else "localhost" if host in ("0.0.0.0", "::") else host
        address = f"http://{shown}:{port}"
        # The output is scrubbed of tokens; this one is there to be read.
        print_secret(f"Pointsmith is at {address}{self._query and f'/{self._query}'}")


class _Connection(H11Protocol):
    """A connection that is closed when it does not bring a whole request in time."""

    _watch: asyncio.TimerHandle | None = None
    _waited = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch = self.loop.call_later(_HEADER_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._waited:
            self.transport.close()
            return
        self._waited = idle
        self._watch = self.loop.call_later(_HEADER_SECONDS, self._look)


def serve(app: FastAPI, door: socket.socket, token: StartToken = StartToken()) -> None:
    """Serve on a listening socket until Ctrl-C or SIGTERM, which it lets through as uvicorn does.

    A random `token` is printed with the address.
    """
    # Pages keep event streams open; those need not hold up the end.
    config = uvicorn.Config(
        app, http=_Connection, ws="none", log_level="warning", timeout_graceful_shutdown=1, server_header=False
    )
    _Announcing(config, f"?token={token.value}" if token.show else "").run(sockets=[door])
