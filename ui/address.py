"""What the page's address names: one run, adapter, data set or comparison at a time, as `?run=…`."""

from __future__ import annotations

ADDRESSED = ("run", "adapter", "data", "compare", "sweep")
"""What the page's address may name, as `?run=…`, one at a time."""


def address(key: str, push: bool = False) -> str:
    """Return JavaScript that writes an id into the page's address, alone of all that may stand there."""
    how = "pushState" if push else "replaceState"
    return (
        "(id) => { const url = new URL(location); "
        f"for (const one of {list(ADDRESSED)}) url.searchParams.delete(one); "
        f"if (id) url.searchParams.set('{key}', id); "
        f"if (url.href !== location.href) history.{how}({{}}, '', url); }}"
    )
