"""The pictures of the README, taken from the page itself: `python -m tests.screenshots [--data FOLDER]`.

Starts a page of its own, trains what the pictures show where the folder does not hold it yet (Adapter-X and DAPT on
the built-in objects, ten epochs each: some three minutes a run on two idle cores), and writes assets/screenshots/*.png.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.browser import FLAGS
from tests.support.paths import ROOT
from tests.support.processes import PATIENCE
from tests.support.stocked import Stocked

OUT = ROOT / "assets" / "screenshots"
MOST = 300_000
"""Bytes of a picture."""
RECIPE = {"data": {"kind": "demo"}, "head": {"dropout": 0.1}, "optim": {"lr": 0.003}, "epochs": 10, "batch_size": 16,
          "augment": {"kind": "scale-shift", "scale_min": 0.8, "scale_max": 1.25, "shift": 0.1},
          "backbone": {"kind": "demo", "groups": 32}}  # fmt: skip
METHODS = {
    "Adapter-X on everyday objects": {"kind": "adapter-x", "rank": 16},
    "DAPT on everyday objects": {"kind": "dapt", "rank": 32, "dropout": 0.0},
}


def trained(page: Stocked) -> dict[str, str]:
    """The ids of the runs by name, trained now where they are missing."""

    def known() -> dict[str, tuple[str, str]]:
        command = [sys.executable, "-m", "pointsmith.ui.cli.main", "runs", "--service", str(page.data), "--json"]
        said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout)
        return {one["name"]: (one["id"], one["state"]) for one in said}

    for name, method in METHODS.items():
        if name not in known():
            page.submit(name, RECIPE | {"method": method})
    while any(known()[name][1] != "succeeded" for name in METHODS):
        assert all(known()[name][1] not in ("failed", "cancelled") for name in METHODS), known()
        time.sleep(5)
    return {name: known()[name][0] for name in METHODS}


def keep(name: str, taken: bytes) -> None:
    """Write a picture, with fewer colours where it would be too large."""
    picture = Image.open(BytesIO(taken)).convert("RGB")
    if picture.width < 1280 and picture.width > 390:  # a part of the page: with some of the ground around it
        picture = ImageOps.expand(picture, 20, picture.getpixel((picture.width - 3, picture.height - 3)))
    for colours in (None, 255, 128, 64):
        file = BytesIO()
        shown = picture if colours is None else picture.quantize(colours, dither=Image.Dither.NONE)
        shown.save(file, "PNG", optimize=True)
        if len(file.getvalue()) < MOST:
            break
    (OUT / f"{name}.png").write_bytes(file.getvalue())
    print(f"{name}.png: {picture.width} x {picture.height}, {len(file.getvalue()) / 1000:.0f} kB")


def run_page(page: Page) -> None:
    expect(page.locator("#results .ps-confusion")).to_be_visible()
    page.locator("#charts").get_by_label("Smoothing").fill("0.6")
    page.evaluate("() => document.activeElement.blur()")


def routing(page: Page) -> None:
    page.click("#explain-class input")
    page.get_by_role("option", name="airplane", exact=True).click()
    canvas = page.locator("#explain canvas").first
    expect(canvas).to_have_attribute("data-drawn", "1024")
    page.locator("#explain .ps-blocks input").fill("3")
    for key in ("ArrowLeft", "ArrowLeft", "+", "+"):
        canvas.press(key)
    page.locator("#explain .ps-size").fill("9")
    page.evaluate("() => document.activeElement.blur()")


def compare(page: Page) -> None:
    expect(page.locator("#compare-numbers tbody tr")).to_have_count(2)
    expect(page.locator("#compare-charts path.ps-line").first).to_be_attached()


def predict(page: Page) -> None:
    for label in ("stool", "plant", "monitor", "bed", "chair"):  # the first in which a patch decides
        page.click("#sample input")
        page.get_by_role("option", name=label, exact=True).click()
        expect(page.locator("#answer")).to_contain_text(f"generated {label}")
        page.click("#matters")
        expect(page.locator("#matters-said")).to_be_visible()
        if "decisive" in page.locator("#matters-said").inner_text():
            break
    page.locator("#viewer .ps-size").fill("8")
    page.evaluate("() => document.activeElement.blur()")


def shot(browser: Browser, address: str, act: Callable[[Page], None], size: tuple[int, int], part: str = "") -> bytes:
    """Open an address, act, and take what is in the window, or one part of the page."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme="light")
    page.set_default_timeout(120_000)
    page.add_init_script("localStorage.setItem('pointsmith-known', '1')")
    page.goto(address)
    act(page)
    page.wait_for_timeout(1500)
    taken = page.locator(part).screenshot() if part else page.screenshot()
    page.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="keep the page's data here; runs that it holds are shown as they are")
    given = parser.parse_args().data
    chromium = next(path for name in ("chromium", "google-chrome") if (path := shutil.which(name)))
    expect.set_options(timeout=120_000)
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder, sync_playwright() as driver:
        page = Stocked((given or Path(folder)).resolve())
        page.folder.mkdir(parents=True, exist_ok=True)
        page.start()
        try:
            routed, scaled = (trained(page)[name] for name in METHODS)
            browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
            at = page.address
            keep("run", shot(browser, f"{at}/?run={scaled}", run_page, (1280, 960)))
            keep("routing", shot(browser, f"{at}/?run={routed}", routing, (1280, 900), "#explain"))
            keep("compare", shot(browser, f"{at}/?compare={scaled},{routed}", compare, (1280, 1000)))
            keep("predict", shot(browser, f"{at}/?adapter={scaled}", predict, (1280, 860)))
            keep("phone", shot(browser, f"{at}/?run={routed}", run_page, (390, 844)))
            browser.close()
        finally:
            page.stop()


if __name__ == "__main__":
    main()
