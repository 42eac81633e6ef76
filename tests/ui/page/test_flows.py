"""The page among people: two visitors at once, a restart, a slow network, all that Predict offers, bin and uploads."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.browser import CHROMIUM, Watched, drawn, playwright, watched
from tests.support.stocked import Stocked

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
_TOASTS = """() => { window.toasts = []; new MutationObserver(() => {
  for (const one of document.querySelectorAll('.toast-body')) window.toasts.push(one.textContent);
}).observe(document.body, {childList: true, subtree: true}); }"""
_SLOW = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8}
"""What Chromium's own tools call fast 3G."""


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    playwright.expect.set_options(timeout=90_000)
    yield


@pytest.fixture
def visitors(browser: playwright.Browser, stocked: Stocked) -> Iterator[tuple[Watched, Watched]]:
    """Two browser pages with storage of their own; nothing may go wrong on either."""
    found = watched(browser, stocked.address), watched(browser, stocked.address)
    for one in found:
        one.page.set_default_timeout(90_000)
    yield found
    for one in found:
        one.page.close()
        assert one.errors == [] and one.outside == []


def small(page: playwright.Page, epochs: str) -> None:
    """Fill the form with a run of seconds."""
    playwright.expect(page.locator("#review dt").first).to_be_visible()
    page.fill("#set-data-demo-train_per_class input", "6")
    page.fill("#set-data-demo-test_per_class input", "2")
    page.fill("#set-batch_size input", "12")
    page.fill("#set-epochs input", epochs)
    playwright.expect(page.locator("#repeat")).to_contain_text(f"--epochs {epochs}")


def test_two_visitors_at_once(visitors: tuple[Watched, Watched], stocked: Stocked) -> None:
    first, second, expect = visitors[0].page, visitors[1].page, playwright.expect
    first.goto(stocked.address)
    small(first, "200")  # more than there is time for: it must still be going on when the second comes
    first.click("#start")
    first.wait_for_url(re.compile(r"\?run=[0-9a-f]{24}$"))
    run = first.url
    second.goto(run)
    for page in (first, second):
        expect(page.locator("#charts path.ps-line").first).to_be_attached(timeout=120_000)
    before = drawn(second)
    second.wait_for_function(
        "before => document.querySelector('#charts path.ps-line').getAttribute('d').length > before", arg=before
    )
    # While it trains, both ask another adapter.
    for page, name in ((first, "scaled"), (second, "routed")):
        page.goto(f"{stocked.address}/?adapter={stocked.runs[name]}")
    for page in (first, second):
        expect(page.locator("#answer #label")).to_be_visible()
    for label in ("car", "mug"):
        for page in (first, second):
            page.click("#sample input")
            page.get_by_role("option", name=label, exact=True).click()
        for page, name in ((first, "dapt"), (second, "adapter-x")):
            expect(page.locator("#answer")).to_contain_text(label)
            expect(page.locator("#answer")).to_contain_text(f"{name} on demo")
    first.goto(run)
    first.click("#cancel")
    expect(first.locator("#run-header .ps-chip")).to_have_text("cancelled")


def test_all_that_predict_offers(visitors: tuple[Watched, Watched], stocked: Stocked, tmp_path: Path) -> None:
    page, expect = visitors[0].page, playwright.expect
    page.goto(f"{stocked.address}/?adapter={stocked.runs['scaled']}")
    expect(page.locator("#answer #label")).to_be_visible()
    page.click("#matters")
    expect(page.locator("#matters-said")).to_contain_text("patch")
    assert page.locator("#viewer .ps-colour").input_value() == "weight"

    page.click("#beside-box button")
    page.click("#beside input")
    page.get_by_role("option", name=re.compile("The routed one")).click()
    expect(page.locator("#viewer-beside canvas")).to_have_attribute("data-drawn", "512")
    page.locator("#viewer canvas").focus()
    for key in ("ArrowLeft", "ArrowUp", "+"):
        page.keyboard.press(key)
    page.wait_for_timeout(400)
    cameras = [page.locator(f"#{one} canvas").get_attribute("data-camera") for one in ("viewer", "viewer-beside")]
    assert cameras[0] == cameras[1] and cameras[0]

    with page.expect_download() as saved:
        page.click("#viewer .ps-ply")
    assert "element vertex 512" in Path(saved.value.path()).read_text()
    with page.expect_download() as taken:
        page.click("#viewer .ps-photo")
    assert Path(taken.value.path()).read_bytes()[1:4] == b"PNG"

    points = np.random.default_rng(0).normal(size=(300, 3))
    page.click("#paste-box button")
    page.fill("#paste textarea", "\n".join(" ".join(f"{value:.4f}" for value in row) for row in points))
    page.click("#paste-go")
    expect(page.locator("#answer")).to_contain_text("pasted points")

    files = []
    for i in range(3):
        files.append(tmp_path / f"cloud{i}.npy")
        np.save(files[-1], points + i)
    (tmp_path / "torn.ply").write_bytes(b"nothing")
    page.click("#many-box button")
    page.set_input_files("#many-files input[type=file]", [*files, tmp_path / "torn.ply"])
    expect(page.locator("#many-files")).to_contain_text("torn")
    page.click("#many-go")
    with page.expect_download() as written:
        page.click("#many-csv")
    rows = list(csv.DictReader(Path(written.value.path()).read_text().splitlines()))
    assert [row["file"] for row in rows] == ["cloud0.npy", "cloud1.npy", "cloud2.npy", "torn.ply"]
    assert all(float(row["probability"]) > 0 for row in rows[:3]) and rows[3]["problem"]


def test_a_slow_network(visitors: tuple[Watched, Watched], stocked: Stocked) -> None:
    page, expect = visitors[0].page, playwright.expect
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", _SLOW)
    page.goto(stocked.address)
    small(page, "2")
    page.evaluate(_TOASTS)
    # Typed faster than answers come: nothing of it may be lost, and the last of it counts.
    page.locator("#set-batch_size input").select_text()
    page.keyboard.type("10", delay=30)
    page.locator("#set-epochs input").select_text()
    page.keyboard.type("1", delay=30)
    expect(page.locator("#repeat")).to_contain_text("--epochs 1 --batch-size 10")
    assert [page.input_value(f"#set-{one} input") for one in ("epochs", "batch_size")] == ["1", "10"]
    page.reload()
    expect(page.locator("#repeat")).to_contain_text("--epochs 1 --batch-size 10")
    page.evaluate(_TOASTS)
    page.click("#start")
    page.wait_for_url(re.compile(r"\?run=[0-9a-f]{24}$"))
    expect(page.locator("#run-header .ps-chip")).to_have_text("succeeded", timeout=180_000)
    expect(page.locator("#results .ps-confusion")).to_be_visible()
    assert page.evaluate("() => window.toasts") == []


def test_chosen_runs_are_compared(visitors: tuple[Watched, Watched], stocked: Stocked) -> None:
    page, expect = visitors[0].page, playwright.expect
    page.goto(stocked.address)
    page.get_by_role("tab", name="Runs", exact=True).click()
    for name in ("routed", "scaled"):
        page.check(f"#runs [data-choose='{stocked.runs[name]}']")
    page.click("#runs [data-compare]:has-text('Compare 2 runs')")
    page.wait_for_url(re.compile(f"compare={stocked.runs['routed']}(,|%2C){stocked.runs['scaled']}"))
    expect(page.locator("#compare-numbers tbody tr")).to_have_count(2)
    page.goto(f"{stocked.address}/?run={stocked.runs['images']}")
    page.click("#to-compare")
    page.wait_for_url(re.compile(f"compare={stocked.runs['images']}$"))
    expect(page.locator("#compare-numbers tbody tr")).to_have_count(1)


def test_a_deleted_run_says_so_and_comes_back(visitors: tuple[Watched, Watched], stocked: Stocked) -> None:
    page, other, expect = visitors[0].page, visitors[1].page, playwright.expect
    there = f"{stocked.address}/?run={stocked.runs['failed']}"
    page.goto(there)
    page.click("#delete")
    expect(page.locator("#bin h3")).to_have_text("Recently deleted")
    other.goto(there)
    expect(other.locator("#run-header .ps-undo")).to_contain_text("This run was deleted")
    expect(other.locator("#delete")).to_be_hidden()
    other.click("#run-header [data-undo]")
    expect(other.locator("#run-header .ps-undo")).to_have_count(0)
    page.reload()
    page.get_by_role("tab", name="Runs", exact=True).click()
    expect(page.locator(f"#runs [data-run='{stocked.runs['failed']}']")).to_be_visible()


def test_an_upload_is_seen_and_deleted(visitors: tuple[Watched, Watched], stocked: Stocked) -> None:
    page, expect = visitors[0].page, playwright.expect
    page.goto(stocked.address)
    page.get_by_role("tab", name="Data", exact=True).click()
    page.click("#data-source label:has-text('Upload')")
    expect(page.locator("#data-files")).to_be_visible()
    photos = sorted((stocked.folder / "photos" / "light").glob("*.png"))[:2]
    page.set_input_files("#data-files input[type=file]", photos)
    expect(page.locator("#data-files")).to_contain_text(re.compile(r"1\s*\.png"))
    page.click("#check-data")
    expect(page.locator("#uploads")).to_contain_text("of 50 GB")
    expect(page.locator("#uploads")).to_contain_text("used by no run")
    folder = next(one for one in (stocked.data / "uploads").iterdir() if len(one.name) == 32)
    page.click("#uploads [data-upload]")
    assert folder.exists()
    page.click("#uploads [data-upload]:has-text('Really delete?')")
    expect(page.locator("#uploads [data-upload]")).to_have_count(0)
    assert not folder.exists()


def test_a_restart_while_a_page_is_open(browser: playwright.Browser, stocked: Stocked) -> None:
    """The page comes back to the same run by itself, and the run goes on. What the browser logs meanwhile may stand."""
    seen = watched(browser, stocked.address)
    page, expect = seen.page, playwright.expect
    page.goto(stocked.address)
    small(page, "6")
    page.click("#start")
    page.wait_for_url(re.compile(r"\?run=[0-9a-f]{24}$"))
    run = page.url
    expect(page.locator("#charts path.ps-line").first).to_be_attached(timeout=120_000)
    stocked.stop()
    page.wait_for_timeout(1500)
    stocked.start()
    expect(page.locator("#run-header .ps-chip")).to_have_text("succeeded", timeout=240_000)
    assert page.url == run
    expect(page.locator("#results .ps-confusion")).to_be_visible()
    assert seen.outside == []
    page.close()
