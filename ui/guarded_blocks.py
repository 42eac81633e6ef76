"""Blocks whose events take files only in the fields for files, and only files that were uploaded to this page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import BlockFunction
from gradio.state_holder import SessionState
from gradio.utils import get_upload_folder

from .neutral_errors import unexpected

_FILE_FIELDS = (gr.File, gr.UploadButton, gr.Image)


class GuardedBlocks(gr.Blocks):
    """`gr.Blocks` that looks at the arguments of every event before Gradio does.

    A JSON argument such as `{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}` is a file object to Gradio:
    it would copy the file into its cache, or fetch the address, for any component. Here such an object is refused in
    every argument, except for an upload in a field that takes files. What functions return is checked likewise:
    none of them returns file objects of its own making, so one in there has come from a visitor.

    An unexpected error of an event is logged, and the client gets a neutral sentence.
    """

    async def process_api(self, *args: Any, **options: Any) -> dict[str, Any]:
        try:
            return await super().process_api(*args, **options)
        except gr.Error:
            raise
        except Exception as error:
            raise unexpected(error) from None

    async def preprocess_data(
        self,
        block_fn: BlockFunction,
        inputs: list[Any],
        state: SessionState | None,
        explicit_call: bool = False,
    ) -> list[Any]:
        for component, value in zip(block_fn.inputs, inputs):
            if isinstance(component, _FILE_FIELDS):
                _require_uploads(value)
            else:
                _refuse_files(value)
        return await super().preprocess_data(block_fn, inputs, state, explicit_call)

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: list[Any] | dict[Any, Any], state: SessionState | None
    ) -> list[Any]:
        _refuse_files(predictions)
        return await super().postprocess_data(block_fn, predictions, state)


def _refuse_files(value: Any) -> None:
    """Raise gr.Error where a value of JSON holds a file object, however deep, complete or not."""
    remaining = [value]
    while remaining:
        content = remaining.pop()
        if isinstance(content, dict):
            if "path" in content and "meta" in content:
                raise _refusal()
            remaining.extend(content.values())
        elif isinstance(content, (list, tuple)):
            remaining.extend(content)


def _require_uploads(value: Any) -> None:
    """Raise gr.Error unless a file field's value is empty, one uploaded file, or a list of such."""
    for file in value if isinstance(value, list) else [value]:
        if file is None:
            continue
        if not isinstance(file, dict) or not _is_upload(file.get("path")) or file.get("is_stream"):
            raise _refusal()
        _refuse_files([content for key, content in file.items() if key not in ("path", "meta")])
        # Anything else in `meta` or `url` says nothing about an upload, and Gradio obeys some of it.
        if file.get("meta") not in (None, {"_type": "gradio.FileData"}):
            raise _refusal()


def _is_upload(path: Any) -> bool:
    """Whether Gradio put a file there for a visitor: a regular file right where its name says, in the upload folder."""
    if not isinstance(path, str) or "\0" in path:
        return False
    folder = get_upload_folder()
    try:
        below = Path(os.path.realpath(folder)) / os.path.relpath(path, folder)
        return os.path.realpath(below) == str(below) and below.is_file() and os.path.isabs(path)
    except (OSError, ValueError):  # too long a name, a circle of links
        return False


def _refusal() -> gr.Error:
    return gr.Error(
        "A file that is no upload was named in this request. Upload the file in the field for files.",
        title="Files",
        print_exception=False,
    )


def serve_safely(blocks: gr.Blocks) -> None:
    """Have Gradio check the files of a mounted application, as it does for one that was started by `launch`.

    Until both marks are set it takes every path for one that the application itself named, and every SVG for an icon
    of the page that may be shown as it is.
    """
    blocks.has_launched = True
    blocks.is_running = True
