"""Uploads by form: few parts, short fields, and nothing left behind by one that breaks off."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from gradio import route_utils
from gradio.route_utils import GradioMultiPartParser
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException

MAX_FILES = 1000
_MAX_FIELDS = 20
_FIELD_BYTES = 64 * 2**10


class BoundedParser(GradioMultiPartParser):
    """Gradio's parser with a bound on fields, which it collects in memory, that deletes the files of a broken form."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "max_files": MAX_FILES, "max_fields": _MAX_FIELDS})
        self._field_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._field_bytes += end - start
            if self._field_bytes > _FIELD_BYTES:
                raise MultiPartException("A field exceeded its maximum allowed size.")
            self._current_part.data += data[start:end]
            return
        super().on_part_data(data, start, end)

    async def parse(self) -> FormData:
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                with contextlib.suppress(FileNotFoundError):
                    Path(file.name).unlink()
            raise


def bound_forms() -> None:
    """Let Gradio's uploads be read by `BoundedParser`."""
    route_utils.GradioMultiPartParser = BoundedParser  # type: ignore[misc]
