"""A zip with two bad files is dropped on the page, checked, mended, and ends in a trained run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pointsmith.core.data.procedural import make_cloud

from tests.support.browser import CHROMIUM, playwright, watched

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Path]:
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        for label, name in enumerate(("alpha", "beta", "gamma")):
            for part, first in (("train", 0), ("test", 50)):
                for i in range(8):
                    stream = BytesIO()
                    np.save(stream, make_cloud(label, first + i, 1024))
                    archive.writestr(f"scans/{part}/{name}/{i}.npy", stream.getvalue())
        stream = BytesIO()
        np.save(stream, make_cloud(0, 50, 1024) * 2)
        archive.writestr("scans/train/alpha/copy.npy", stream.getvalue())
        archive.writestr("scans/train/alpha/broken.obj", "v 1 2")
        archive.writestr("scans/train/beta/nothing.ply", b"")
    yield tmp_path / "scans.zip"


def test_from_a_faulty_zip_to_a_trained_run(address: str, browser: playwright.Browser, faulty: Path) -> None:
    seen = watched(browser, address, 1200, 900)
    page, expect = seen.page, playwright.expect
    expect.set_options(timeout=120_000)
    page.goto(address)
    page.get_by_role("tab", name="Data").click()
    page.click("#data-source label:has-text('Upload')")
    page.set_input_files("#data-files input[type=file]", faulty)
    expect(page.locator("#data-files")).to_contain_text("scans")
    page.click("#check-data")
    report = page.locator("#data-report")
    expect(report).to_contain_text("1 object in more than one part")
    expect(report).to_contain_text("train/alpha/copy.npy = test/alpha/0.npy")
    expect(report).to_contain_text("broken.obj")
    expect(report).to_contain_text("nothing.ply")
    page.wait_for_url(re.compile(r"\?data=[0-9a-f]{24}$"))

    page.locator("#data-inputs [data-look]").nth(3).click()
    expect(page.locator("#data-viewer canvas")).to_have_attribute("data-drawn", "1024")
    report.locator("[data-mend]", has_text="Leave out the training copies").click()
    expect(report.locator(".ps-problem-mended")).to_contain_text("1 object in more than one part")

    # The address opens the same report, on a phone too.
    phone = watched(browser, address, 390, 844)
    phone.page.goto(page.url)
    expect(phone.page.locator("#data-report .ps-problem-mended")).to_be_visible()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.errors == [] and phone.outside == []
    phone.page.close()

    page.click("#use-data")
    expect(page.locator("#repeat")).to_contain_text("data.repair.copies=across")
    page.fill("#set-epochs input", "1")
    page.fill("#set-batch_size input", "6")
    expect(page.locator("#repeat")).to_contain_text("--epochs 1")
    page.click("#start")
    page.wait_for_url(re.compile(r"\?run=[0-9a-f]{24}$"), timeout=60_000)
    expect(page.locator("#run-header .ps-chip")).to_have_text("succeeded", timeout=180_000)
    page.locator("#log-box button").first.click()
    expect(page.locator("#log")).to_contain_text("copies of inputs in another part left out: 1 of 25 of train")
    assert seen.errors == [] and seen.outside == []
    page.close()
