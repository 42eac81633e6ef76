"""Spellings of a path that a visitor may not name, and the shapes in which a request can carry one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def spellings(target: Path, uploads: Path, link: Path, address: str) -> dict[str, str]:
    """Return more than 40 ways to name a file, or what is near it.

    `target` is the file, `uploads` the folder where the page keeps what visitors send, `link` a symbolic link in it
    that leads to the target, and `address` where a web server of this machine offers the same file.
    """
    path, name, folder = str(target), target.name, str(target.parent)
    relative = os.path.relpath(target)
    climbing = f"{uploads}/{os.path.relpath(target, uploads)}"
    return {
        "absolute": path,
        "relative": relative,
        "relative with a dot": f"./{relative}",
        "climbing from the uploads": climbing,
        "climbing from a random folder": f"{uploads}/{'0' * 32}/../{os.path.relpath(target, uploads)}",
        "climbing too far": "../" * 40 + path.lstrip("/"),
        "link": str(link),
        "link to the folder": f"{link}-folder/{name}",
        "the uploads themselves": str(uploads),
        "file address": f"file://{path}",
        "file address with a host": f"file://localhost{path}",
        "file address, short": f"file:{path}",
        "upper-case file address": f"FILE://{path}",
        "home": f"~/{os.path.relpath(target, Path.home())}",
        "home of a user": "~root/.bashrc",
        "variable": f"$PWD/{relative}",
        "percent": path.replace("/", "%2f"),
        "percent twice": path.replace("/", "%252f"),
        "percent dots": f"{uploads}/%2e%2e/%2e%2e{path}",
        "two slashes": f"/{path}",
        "many slashes": path.replace("/", "////"),
        "dots between": path.replace("/", "/./"),
        "there and back": f"{folder}/nothing/../{name}",
        "trailing slash": f"{path}/",
        "trailing dot": f"{path}.",
        "trailing space": f"{path} ",
        "leading space": f" {path}",
        "no-break space": f"\u00a0{path}",
        "leading tab": f"\t{path}",
        "line break": f"x\n{path}",
        "NUL at the end": f"{path}\0",
        "NUL and an extension": f"{path}\0.npy",
        "backslashes": path.replace("/", "\\"),
        "drive": f"C:{path}",
        "network share": f"\\\\localhost\\{name}",
        "upper case": f"{folder}/{name.upper()}",
        "full-width dots": f"{uploads}/\uff0e\uff0e/\uff0e\uff0e{path}",
        "quoted": f'"{path}"',
        "wildcard": f"{folder}/*",
        "working folder": f"/proc/self/cwd/{relative}",
        "root of a process": f"/proc/self/root{path}",
        "environment": "/proc/self/environ",
        "memory": "/proc/self/maps",
        "descriptor": "/dev/fd/3",
        "standard input": "/dev/stdin",
        "accounts": "/etc/passwd",
        "address": f"{address}/{name}",
        "address without a scheme": f"//{address.partition('//')[2]}/{name}",
        "served by Gradio": f"/gradio_api/file={path}",
        "data address": "data:text/plain;base64,MCAwIDAK",
        "archive member": f"zip://{name}::{path}",
        "fsspec chain": f"simplecache::file://{path}",
        "HDF5 member": f"{path}::/data",
    }  # fmt: skip


def _file(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


SHAPES: dict[str, Callable[[str], Any]] = {
    "file": _file,
    "file with all its fields": lambda path: _file(
        path, url=path, orig_name="x.xyz", size=1, mime_type="text/plain", is_stream=False
    ),
    "stream": lambda path: _file(path, is_stream=True),
    "list": lambda path: [_file(path)],
    "list of lists": lambda path: [[["x", _file(path)]]],
    "in an object": lambda path: {"seed": _file(path)},
    "deep": lambda path: {"a": [{"b": {"c": [None, _file(path)]}}]},
    "in its own name": lambda path: _file("x", orig_name=_file(path)),
    "address only": lambda path: {"path": "", "url": path, "meta": {"_type": "gradio.FileData"}},
    "no mark": lambda path: {"path": path, "orig_name": "x.xyz"},
    "other mark": lambda path: {"path": path, "meta": {"_type": "gradio.ListFiles"}},
    "list of files": lambda path: {"root": [_file(path)], "meta": {"_type": "gradio.ListFiles"}},
    "component": lambda path: {
        "component": "file", "value": _file(path), "constructor_args": {}, "props": {"value": _file(path)},
        "__type__": "component",
    },
    "update": lambda path: {"__type__": "update", "value": _file(path)},
    "image and its layers": lambda path: {"background": _file(path), "layers": [_file(path)], "composite": None},
    "message": lambda path: {"text": "x", "files": [_file(path)]},
    "text": lambda path: path,
}  # fmt: skip
"""What a request's argument can be, by name: a function from a path to the argument."""
