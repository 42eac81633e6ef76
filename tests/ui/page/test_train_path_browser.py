"""The path to a run in a real browser: ways to train, marks of what does not fit, and a dropped file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsmith.core.config import parse_config

from tests.support.browser import CHROMIUM, playwright, watched

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
RUN = parse_config(
    {
        "data": {"kind": "demo", "train_per_class": 4, "test_per_class": 2},
        "method": {"kind": "probe"},
        "backbone": {"kind": "demo", "groups": 16},
        "epochs": 1,
        "batch_size": 12,
    }
)


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    playwright.expect.set_options(timeout=60_000)
    yield


def test_ways_to_train_and_a_dropped_file(address: str, browser: playwright.Browser, tmp_path: Path) -> None:
    seen = watched(browser, address)
    page, expect = seen.page, playwright.expect
    page.goto(address)
    expect(page.locator("#path .ps-step-done")).to_have_count(4)
    page.click("[data-aim=paper]")
    expect(page.locator("#aimed")).to_contain_text("Paper (dapt-scan-hardest)")
    expect(page.locator("#repeat")).to_contain_text("--epochs 301")
    page.click("[data-aim=memory]")
    expect(page.locator("#repeat")).to_contain_text("memory=two-phase")
    # What does not fit is marked on its step.
    page.click("#kind-data label:has-text('Folder or zip')")
    expect(page.locator("#path .ps-step-wrong")).to_contain_text("Data")
    # A file that is no run says so and changes nothing; one that is fills the form.
    (tmp_path / "bad.yaml").write_text("epoch: 3\n")
    page.set_input_files("#dropped input[type=file]", tmp_path / "bad.yaml")
    expect(page.locator("#about-recipe")).to_contain_text("unknown key epoch")
    (tmp_path / "run.yaml").write_text(RUN.to_yaml())
    page.reload()
    expect(page.locator("#path .ps-step-wrong")).to_contain_text("Data")
    page.set_input_files("#dropped input[type=file]", tmp_path / "run.yaml")
    expect(page.locator("#repeat")).to_contain_text("--method probe")
    expect(page.locator("#review")).to_contain_text("45 clouds + 30 to test")
    expect(page.locator("#path .ps-step-done")).to_have_count(4)
    assert seen.outside == []
    page.close()
