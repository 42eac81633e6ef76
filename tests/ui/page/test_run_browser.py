"""A run's page in a real browser: routing, curves that zoom, clouds behind the confusion matrix, labels, undo."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.app_process import App
from tests.support.browser import CHROMIUM, FLAGS
from tests.support.processes import PATIENCE

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The page's address and its data folder."""
    with App(tmp_path) as app:
        yield app.address, app.data


def submit(data: Path) -> str:
    """Queue a small DAPT-X run; its id."""
    small = {"data.train_per_class": 6, "data.test_per_class": 2, "epochs": 3, "batch_size": 12}
    settings = [part for name, value in small.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "pointsmith.ui.cli.main", "submit", "--service", str(data), "--method", "dapt-x"]
    return subprocess.run(
        [*command, *settings], check=True, capture_output=True, text=True, timeout=PATIENCE
    ).stdout.split()[0]


def colours(canvas: playwright.Locator) -> set[tuple[int, int, int]]:
    """The strong colours of a drawn canvas, in steps."""
    canvas.scroll_into_view_if_needed()
    pixels = np.asarray(Image.open(BytesIO(canvas.screenshot())).convert("RGB")).reshape(-1, 3).astype(int)
    strong = pixels[(pixels.max(axis=1) - pixels.min(axis=1)) > 60]
    return {tuple(one) for one in (strong // 48).tolist()}


def test_a_routed_run(served: tuple[str, Path]) -> None:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        wrong: list[str] = []
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        own = (served[0], "data:", "blob:")
        page.on("request", lambda asked: None if asked.url.startswith(own) else wrong.append(asked.url))
        page.goto(f"{served[0]}/?run={submit(served[1])}")
        look(page)
        assert wrong == []
        chromium.close()


def look(page: playwright.Page) -> None:
    expect = playwright.expect
    expect.set_options(timeout=60_000)
    # Routing is there while the run goes on, and after it by class and block.
    expect(page.locator("#routing .ps-stackbar").first).to_be_visible(timeout=180_000)
    expect(page.locator("#run-header .ps-chip")).to_have_attribute("data-state", "succeeded", timeout=180_000)
    expect(page.locator("#routing .ps-slide output").first).to_have_text(re.compile(r"\b3$"))
    page.locator("#routing .ps-slide input").first.fill("0")
    expect(page.locator("#routing .ps-slide output").first).not_to_have_text(re.compile(r"\d"))
    page.locator("#routing .ps-slide input").nth(1).fill("2")
    expect(page.locator("#routing .ps-slide output").nth(1)).to_have_text(re.compile(r"\b2$"))

    # A chart is looked at more closely, a trace hidden, and both stay when something new arrives.
    chart = page.locator("#charts .ps-plot").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 90, steps=4)
    page.mouse.up()
    expect(page.locator("#charts select")).to_have_value("")
    drawn = page.locator("#charts path.ps-line").first.get_attribute("d")
    page.locator("#charts .ps-chart-bar input").fill("0.8")
    assert page.locator("#charts path.ps-raw").count() and drawn
    chart.dblclick(position={"x": 5, "y": 5})
    expect(page.locator("#charts select")).to_have_value("1")

    # The clouds behind a number.
    cell = page.locator("#results [data-cell]").first
    count = int(cell.inner_text())
    cell.click()
    expect(page.locator("#cell .ps-grid-of-inputs button")).to_have_count(count)
    expect(page.locator("#cell canvas")).to_have_attribute("data-drawn", "1024")
    page.click("#cell [data-action=close]")
    expect(page.locator("#cell .ps-strip")).to_be_hidden()

    # One input: as many colours as experts and the chosen patch, another block, the class token.
    page.click("#explain-look")
    canvas = page.locator("#explain canvas").first
    expect(canvas).to_have_attribute("data-drawn", "1024", timeout=90_000)
    page.locator("#explain .ps-blocks input").fill("0")
    expect(canvas).to_have_attribute("data-block", "0")
    page.wait_for_timeout(300)
    assert len(colours(canvas)) >= 2
    page.click("#explain [data-token='-1']")
    expect(page.locator("#explain [data-token='-1']")).to_have_attribute("aria-pressed", "true")

    page.click("#map-look")
    expect(page.locator("#map svg")).to_have_count(2, timeout=120_000)
    expect(page.locator("#map-said")).to_contain_text(re.compile(r"\d"))

    # A name, a tag and a note; then deleted, and had back.
    page.click("#label-box button")
    typed = {"name": "The one for the paper", "tags": "paper, table 1", "note": "Seed 0 & <b>nothing</b> else"}
    fields = {name: page.locator(f"#label-{name} textarea, #label-{name} input") for name in typed}
    until = time.monotonic() + 30
    while {name: field.input_value() for name, field in fields.items()} != typed:  # the box has just been made:
        assert time.monotonic() < until  # Gradio fills a field once more when it is there, sooner than people can
        for name, field in fields.items():
            field.fill(typed[name])
        page.wait_for_timeout(500)
    page.click("#label-save")
    expect(page.locator("#run-header h2")).to_have_text("The one for the paper")
    expect(page.locator("#run-header .ps-note-text")).to_contain_text("<b>nothing</b>")
    page.click("#delete")
    expect(page.locator("#runs .ps-run")).to_have_count(0)
    page.click("#bin button")
    expect(page.locator("#runs .ps-run")).to_contain_text("table 1")
