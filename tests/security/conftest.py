"""Pages to attack, in this process: without logins, without logins but below a folder only, and with accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from .target import Target, target


@pytest.fixture(scope="session", autouse=True)
def _event_loops() -> Iterator[None]:
    """Give Gradio an event loop where it asks for one, and close those that it makes in threads."""
    made: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def recorded() -> asyncio.AbstractEventLoop:
        made.append(make())
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", recorded)
        patch.setattr(asyncio.events, "new_event_loop", recorded)
        asyncio.set_event_loop(recorded())
        yield
    asyncio.set_event_loop(None)
    for loop in made:
        if not loop.is_running():
            loop.close()


@pytest.fixture(scope="session", params=["open", "rooted", "accounts"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp(request.param), request.param) as made:
        yield made
