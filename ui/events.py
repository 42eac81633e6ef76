"""How events of the page run: options that most of its `wire` methods share."""

from __future__ import annotations

from typing import Any

UNSEEN: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": []}
"""Nothing shows that it works. The empty list counts: without it the browser looks every output up, for nothing, when
an event begins and again when it ends, which takes it seconds where there are hundreds."""

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""An event that no program may call."""

QUIET: dict[str, Any] = {**UNSEEN, **PRIVATE, "queue": False}
"""An event of milliseconds, for the page alone."""
