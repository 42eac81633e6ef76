"""The page of a demo Space: the Predict tab alone, over a few adapters of the Hub; no store, no queue, no login."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ..core.errors import UserError
from ..core.hub.client import Hub
from ..core.hub.place import require_hub_id
from ..core.hub.pull import shelf_dir
from . import theme
from .events import PRIVATE, QUIET
from .guarded_blocks import GuardedBlocks
from .predict_page import PredictPage
from .shelf import HubShelf

UPLOAD_LIMIT = "64mb"


def launch(listed: Path, *, device: str = "cpu", lend: Callable[[Any], Any] | None = None) -> None:
    """Serve the adapters that a file of a Space lists, until the process ends.

    `lend` wraps what computes, for hosts that lend a GPU for each call.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Uploads are read by processes of their own, which have to find the package, too.
    paths = [str(listed.resolve().parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(one for one in paths if one)
    content = json.loads(listed.read_text(encoding="utf-8"))
    blocks = demo(tuple(content["adapters"]), str(content["title"]), device=device, lend=lend)
    blocks.launch(
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        footer_links=[],
        max_file_size=UPLOAD_LIMIT,
        theme=theme.theme(),
        css=theme.css(),
        head=theme.head(),
    )


def demo(
    adapters: tuple[str, ...],
    title: str,
    *,
    device: str = "cpu",
    lend: Callable[[Any], Any] | None = None,
) -> gr.Blocks:
    """Return the page. The first adapter is fetched now, so that the first visitor need not wait for it."""
    shelf = HubShelf(Hub, shelf_dir, tuple(require_hub_id(one) for one in adapters))
    shelf.find(adapters[0])
    with GuardedBlocks(title=title, analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
        gr.HTML(
            f'<header class="ps-top">{theme.logo()}<div><h1>{_escaped(title)}</h1><p>{_said(adapters)}</p></div>'
            "</header>",
            apply_default_css=False,
        )
        page = PredictPage(shelf, check=_refused, folders=False, device=device, lend=lend)
        page.wire()
        which = [page.adapter, page.folder]
        arrived = blocks.load(_arrive(page), None, page.adapter, **QUIET)
        arrived.then(page.fit, [*which, page.label], page.fitted, **QUIET).then(
            page.first, [*which, page.viewer, page.picture], page.shown, **PRIVATE
        )
    return blocks


def _arrive(page: PredictPage) -> Callable[[gr.Request], Any]:
    def arrive(request: gr.Request) -> Any:
        return page.choose(request.query_params.get("adapter"))

    return arrive


def _refused(place: Path) -> None:
    raise UserError("This page does not read folders", got=str(place))


def _said(adapters: tuple[str, ...]) -> str:
    links = ", ".join(
        f'<a href="https://huggingface.co/{_escaped(one.split("@")[0])}">{_escaped(one.split("@")[0])}</a>'
        for one in adapters
    )
    return f"What an adapter says of a cloud: {links}"


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)
