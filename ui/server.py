"""The page as a web application: Gradio, the export of adapters, and nothing else that can be fetched."""

from __future__ import annotations

import os
import socket
import tempfile
import zipfile
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from ..core.errors import UserError
from ..worker.store import RunStore
from . import theme
from .page import Page

UPLOAD_LIMIT = "2gb"


def application(store: RunStore, data_dir: Path) -> FastAPI:
    """Return the ASGI application that serves the page of a store."""
    app = FastAPI(title="Pointsmith", docs_url=None, redoc_url=None, openapi_url=None)
    exports = data_dir / "exports"
    exports.mkdir(parents=True, exist_ok=True)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/export/{run_id}.zip")
    def export(run_id: str) -> FileResponse:
        try:
            run = store.get(run_id)
        except UserError as error:
            raise HTTPException(404, str(error)) from error
        if run.state != "succeeded":
            raise HTTPException(409, "This run has no adapter: it did not finish.")
        try:
            place = store.bring(run, str((run.result or {}).get("adapter") or "adapter"))
        except UserError as error:
            raise HTTPException(503, str(error)) from error
        draft = packed(place, exports)
        return FileResponse(
            draft, filename=f"pointsmith-{run.id[:8]}.zip", background=BackgroundTask(draft.unlink, missing_ok=True)
        )

    page = Page(store, data_dir)
    return gr.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        max_file_size=UPLOAD_LIMIT,
        show_error=True,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        footer_links=[],
        theme=theme.theme(),
        css=theme.css(),
        head=theme.head(),
    )


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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else "localhost" if host in ("0.0.0.0", "::") else host
        print(f"Pointsmith is at http://{shown}:{port}", flush=True)


def serve(app: FastAPI, door: socket.socket) -> None:
    """Serve on a listening socket until Ctrl-C or SIGTERM, which it lets through as uvicorn does."""
    # Pages keep event streams open; those need not hold up the end.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, proxy_headers=True)
    _Announcing(config).run(sockets=[door])
