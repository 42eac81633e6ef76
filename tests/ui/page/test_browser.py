"""The main job in a real browser against the real server: train, watch, reload, predict a sample and a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.browser import CHROMIUM, drawn, playwright, watched
from tests.support.paths import SHARED

MESHES = SHARED / "capod" / "meshes"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


def cube(path: Path) -> Path:
    """A small OBJ for machines without the shared meshes."""
    corners = [f"v {x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    faces = ["f 1 2 4 3", "f 5 7 8 6", "f 1 5 6 2", "f 3 4 8 7", "f 1 3 7 5", "f 2 6 8 4"]
    path.write_text("\n".join([*corners, *faces]) + "\n")
    return path


def test_the_main_job(address: str, browser: playwright.Browser, tmp_path: Path) -> None:
    seen = watched(browser, address)
    page, expect = seen.page, playwright.expect
    expect.set_options(timeout=60_000)
    page.goto(address)

    # A value that does not fit is one sentence, and nothing typed is lost.
    page.fill("#set-data-demo-train_per_class input", "6")
    page.fill("#set-data-demo-test_per_class input", "2")
    page.fill("#set-batch_size input", "12")
    page.fill("#set-epochs input", "0")
    expect(page.locator("#problem")).to_contain_text("epochs does not fit")
    page.click("#start")
    expect(page.locator("#problem")).to_contain_text("epochs does not fit")
    assert page.input_value("#set-batch_size input") == "12"

    page.fill("#set-epochs input", "4")
    expect(page.locator("#repeat")).to_contain_text("--epochs 4")
    expect(page.locator("#review")).to_contain_text("Trainable parameters")
    page.click("#start")

    # The run opens under its own address and its curve grows.
    page.wait_for_url(re.compile(r"\?run=[0-9a-f]{24}$"), timeout=60_000)
    expect(page.locator("#charts path.ps-line").first).to_be_attached(timeout=120_000)
    before = drawn(page)
    page.wait_for_function(
        "before => document.querySelector('#charts path.ps-line').getAttribute('d').length > before",
        arg=before,
        timeout=60_000,
    )
    expect(page.locator("#run-header .ps-chip")).to_have_text("running")

    # A reload in the middle, and a second visitor on a phone, see the same run.
    grown = drawn(page)
    page.reload()
    expect(page.locator("#charts path.ps-line").first).to_be_attached()
    assert drawn(page) >= grown
    phone = watched(browser, address, 390, 844)
    phone.page.goto(page.url)
    expect(phone.page.locator("#charts path.ps-line").first).to_be_attached()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator("#run-header .ps-chip")).to_have_text("succeeded", timeout=180_000)
    expect(page.locator("#results .ps-confusion")).to_be_visible()
    expect(phone.page.locator("#run-header .ps-chip")).to_have_text("succeeded")
    phone.page.close()

    with page.expect_download() as download:
        page.click("#download a")
    assert download.value.path().read_bytes()[:2] == b"PK"

    # The browser's back button leads back to the list, and forward to the run.
    run = page.url
    page.click("#back")
    expect(page.locator("#runs .ps-run")).to_have_count(1)
    page.wait_for_function("!location.search.includes('run=')")  # the address follows a moment after the list
    page.go_back()
    expect(page.locator("#results .ps-confusion")).to_be_visible()
    assert page.url == run

    # Predict: a sample, then a file; the camera stays where it was turned to.
    page.click("#open-predict")
    canvas = page.locator("#viewer canvas")
    expect(canvas).to_have_attribute("data-drawn", "1024")
    expect(page.locator("#label")).not_to_be_empty()
    canvas.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    page.wait_for_timeout(200)
    camera = canvas.get_attribute("data-camera")
    assert camera and not camera.startswith("0.650")
    mesh = next(iter(sorted(MESHES.glob("Chair/*.obj"))), None) or cube(tmp_path / "cube.obj")
    with page.expect_file_chooser() as chooser:
        page.click("#upload-cloud")
    chooser.value.set_files(mesh)
    expect(page.locator("#answer")).to_contain_text(mesh.name)
    expect(page.locator("#viewer .ps-note")).to_have_text("1,024 of 8,192 points shown")
    assert canvas.get_attribute("data-camera") == camera
    assert canvas.evaluate(
        "c => { const p = document.createElement('canvas'); p.width = c.width; p.height = c.height; "
        "return Boolean(c.getContext('webgl')) && !c.getContext('webgl').isContextLost(); }"
    )

    assert seen.errors == [] and phone.errors == []
    assert seen.outside == [] and phone.outside == []
    page.close()


def test_a_run_that_fails_says_why(address: str, browser: playwright.Browser, tmp_path: Path) -> None:
    expect = playwright.expect
    (tmp_path / "set" / "one").mkdir(parents=True)
    (tmp_path / "set" / "two").mkdir()
    seen = watched(browser, address)
    seen.page.goto(address)
    seen.page.click("#kind-data label:has-text('Folder or zip')")
    seen.page.fill("#set-data-folder-path input, #set-data-folder-path textarea", str(tmp_path / "set"))
    expect(seen.page.locator("#repeat")).to_contain_text("--data folder", timeout=60_000)
    seen.page.click("#start")
    expect(seen.page.locator("#run-header .ps-chip")).to_have_text("failed", timeout=120_000)
    expect(seen.page.locator("#run-header .ps-notice-error")).to_contain_text("class folder one")
    assert seen.errors == [] and seen.outside == []
    seen.page.close()
