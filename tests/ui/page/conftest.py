"""Gradio asks for event loops and leaves them open; here it gets some that are closed, and a tab to try."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest
from pointsmith.ui.predict_page import PredictPage
from pointsmith.ui.shelf import ExampleShelf
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore

from tests.support.app_process import App
from tests.support.stocked import Stocked


@pytest.fixture(scope="session", autouse=True)
def _event_loop() -> Iterator[None]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(scope="module", autouse=True)
def _loops() -> Iterator[None]:
    """Close the event loops that Gradio makes in threads and leaves open."""
    made: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def recorded() -> asyncio.AbstractEventLoop:
        made.append(make())
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", recorded)
        patch.setattr(asyncio.events, "new_event_loop", recorded)
        yield
    for loop in made:
        if not loop.is_running():
            loop.close()


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stocked]:
    """A page with runs in it, for all browser tests of the session."""
    made = Stocked(tmp_path_factory.mktemp("stocked"))
    made.start()
    try:
        made.stock()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address, served by `python app.py` on data of its own; it must end cleanly on SIGTERM."""
    with App(tmp_path_factory.mktemp("data")) as served:
        yield served.address
    assert "Traceback" not in served.log()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; each test opens pages of its own in it."""
    from tests.support.browser import CHROMIUM, FLAGS, playwright

    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunStore]:
    """A store with its Redis and its rooms, for one module."""
    data = tmp_path_factory.mktemp("data")
    for room in ("uploads", "exports", "runs"):
        (data / room).mkdir()
    with EmbeddedRedis(data / "redis") as server:
        store = RunStore(server.address.url, data)
        yield store
        store.close()


@pytest.fixture
def page() -> PredictPage:
    """The Predict tab without a store: only folders are asked for."""
    with gr.Blocks():
        return PredictPage(ExampleShelf())
