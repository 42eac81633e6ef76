"""How smooth and how talkative the page is, in headless Chromium: `python tests/bench/page.py [--address URL]`.

Frame rates are of the viewer alone, turned at every frame for three seconds, drawn in software where there is no GPU.
With `--address` of a running page (`--run ID` of a run that trains), also: seconds until the page can be used, until an
uploaded cloud of 8,192 points is drawn, and the requests and bytes per second of one and of five viewers of a run.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright
from pointsmith.ui import theme
from pointsmith.ui.viewer import TEMPLATE, payload

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SIZES = (1_024, 4_096, 8_192, 20_000, 100_000)
_TURN = """async (seconds) => {
  const viewer = window.shown, until = performance.now() + seconds * 1000;
  let frames = 0;
  await new Promise((done) => {
    const step = () => {
      viewer.turn(0.02, 0.0);
      frames++;
      if (performance.now() < until) requestAnimationFrame(step); else done();
    };
    requestAnimationFrame(step);
  });
  return frames / seconds;
}"""


def cloud(count: int) -> np.ndarray:
    """Points on a torus, so that some hide others."""
    u, v = np.random.default_rng(0).uniform(0, 2 * np.pi, (2, count))
    ring = 1 + 0.4 * np.cos(v)
    return np.stack([ring * np.cos(u), 0.4 * np.sin(v), ring * np.sin(u)], axis=1).astype(np.float32)


def frame_rates(browser: Browser, width: int, height: int) -> None:
    """Print the viewer's frames per second, and the milliseconds from data to picture, by number of points."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_content(f"<head>{theme.head()}<style>{theme.css()}</style></head><body>{TEMPLATE}</body>")
    page.evaluate("() => { window.shown = window.pointsmithView(document.body); }")
    size = page.evaluate(
        "() => { const c = document.querySelector('canvas'); return [c.clientWidth, c.clientHeight]; }"
    )
    print(f"\nviewer, canvas {size[0]} x {size[1]}\n")
    print("| points | data to picture, ms | frames/s while turning |\n|---:|---:|---:|")
    for count in SIZES:
        value = payload(cloud(count), count)
        took = page.evaluate(
            """async (value) => { const begun = performance.now(); window.shown.show(value);
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            return performance.now() - begun; }""",
            value,
        )
        print(f"| {count:,} | {took:.0f} | {page.evaluate(_TURN, 3):.1f} |", flush=True)
    page.close()


def usable(browser: Browser, address: str) -> None:
    """Print the seconds until the first tab can be used, from a fresh browser profile and from one that knows it."""
    context = browser.new_context()
    for name in ("first visit", "second visit"):
        page = context.new_page()
        begun = time.perf_counter()
        page.goto(address)
        page.locator("#start").wait_for(state="visible")
        print(f"{name}: page usable after {time.perf_counter() - begun:.2f} s")
        page.close()
    context.close()


def drawn(browser: Browser, address: str, adapter: str) -> None:
    """Print the seconds from the upload of 8,192 points to their picture, prediction included, the second time."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/?adapter={adapter}")
    page.locator("#viewer canvas[data-drawn]").wait_for(timeout=60_000)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(2):
            path = Path(folder) / f"cloud{turn}.npy"
            np.save(path, cloud(8192 + turn))
            begun = time.perf_counter()
            with page.expect_file_chooser() as chooser:
                page.click("#upload-cloud")
            chooser.value.set_files(path)
            page.locator("#answer", has_text=path.name).wait_for(timeout=60_000)
            print(f"upload {turn + 1} of 8,192 points to answer and picture: {time.perf_counter() - begun:.2f} s")
    page.close()


def talk(browser: Browser, address: str, run: str, viewers: int, seconds: float = 10.0) -> None:
    """Print requests and received bytes per second and viewer of a run's page."""
    pages: list[Page] = []
    sizes: list[int] = []
    for _ in range(viewers):
        page = browser.new_page()
        page.goto(f"{address}/?run={run}")
        page.locator("#run-header .ps-head").wait_for()
        pages.append(page)
    pages[0].wait_for_timeout(4000)
    for page in pages:
        page.on("requestfinished", lambda one: sizes.append(one.sizes()["responseBodySize"]))
    pages[0].wait_for_timeout(seconds * 1000)
    share = viewers * seconds
    state = pages[0].locator("#run-header .ps-chip").first.inner_text()
    print(
        f"{viewers} viewer(s) of a {state} run: {len(sizes) / share:.2f} requests/s and "
        f"{sum(sizes) / share / 1000:.1f} kB/s each"
    )
    for page in pages:
        page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", help="of a running page, without a slash at its end")
    parser.add_argument("--run", help="id of a run that is training")
    parser.add_argument("--adapter", help="id of a finished run of clouds")
    options = parser.parse_args()
    found = next(path for name in ("chromium", "google-chrome") if (path := shutil.which(name)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        print(browser.version)
        frame_rates(browser, 1280, 800)
        if options.address:
            usable(browser, options.address)
        if options.address and options.adapter:
            drawn(browser, options.address, options.adapter)
        if options.address and options.run:
            talk(browser, options.address, options.run, 1)
            talk(browser, options.address, options.run, 5)
        browser.close()


if __name__ == "__main__":
    main()
