"""The page's craft in a real browser: contrast and names (axe), widths, keyboard, no jumps, an answer to each press."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.browser import CHROMIUM, Watched, playwright, watched
from tests.support.stocked import Stocked

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

_SHIFTS = """() => { window.shifts = []; new PerformanceObserver((list) => { for (const one of list.getEntries())
  if (!one.hadRecentInput) window.shifts.push([one.value, one.sources.map((s) => s.node?.id || s.node?.className)]);
}).observe({type: 'layout-shift', buffered: false}); }"""
"""Jumps from now on, but those that follow a press at once: that is what was asked for."""


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    playwright.expect.set_options(timeout=60_000)
    yield


@pytest.fixture
def seen(browser: playwright.Browser, stocked: Stocked) -> Iterator[Watched]:
    """A browser page on which nothing may go wrong, and from which nothing may be asked of other hosts."""
    found = watched(browser, stocked.address, 1280, 900)
    found.page.set_default_timeout(60_000)
    yield found
    found.page.close()
    assert found.errors == [] and found.outside == []


def tab(page: playwright.Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).first.click()


def look(page: playwright.Page, what: str) -> None:
    """No violation of weight, and nothing beyond the edge, in light and dark, wide and on a phone."""
    found: list[str] = []
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for dark in (False, True):
            page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)
            page.wait_for_timeout(100)
            # What only colours decide is all that dark can change.
            options = {"resultTypes": ["violations"], **({"runOnly": ["color-contrast"]} if dark else {})}
            for one in axe.Axe().run(page, options=options).response["violations"]:
                if one["impact"] in ("serious", "critical", "moderate"):
                    first = one["nodes"][0]
                    told = f"{one['impact']} {one['id']} ({len(one['nodes'])}): {first['html'][:200]}"
                    found.append(f"{what}, {width}, {'dark' if dark else 'light'}: {told} {first['failureSummary']}")
        edge = page.evaluate("document.documentElement.scrollWidth")
        if edge > width:
            found.append(f"{what}, {width}: {edge} pixels wide")
    page.evaluate("() => document.body.classList.remove('dark')")
    page.set_viewport_size({"width": 1280, "height": 900})
    assert not found, "\n".join(found)


def test_train_and_the_empty_tabs(seen: Watched, stocked: Stocked) -> None:
    page, expect = seen.page, playwright.expect
    page.goto(stocked.address)
    expect(page.locator("#review dt").first).to_be_visible()
    expect(page.locator(".ps-hello")).to_be_visible()
    look(page, "Train")
    page.click(".ps-hello button")
    expect(page.locator(".ps-hello")).to_be_hidden()
    page.click("#advanced button")
    page.click("#kind-data label:has-text('Images')")
    expect(page.locator("#path .ps-step-wrong")).to_contain_text("Data")
    look(page, "Train, advanced, with what does not fit")
    page.reload()
    expect(page.locator("#review h2")).to_be_visible()
    expect(page.locator(".ps-hello")).to_be_hidden()
    tab(page, "Data")
    expect(page.locator("#check-data")).to_be_visible()
    look(page, "Data")
    tab(page, "Sweeps")
    expect(page.locator("#sweep-preview")).not_to_be_empty()
    look(page, "Sweeps")
    expect(page).to_have_title("Sweeps · Pointsmith")


def test_the_list_and_runs(seen: Watched, stocked: Stocked) -> None:
    page, expect = seen.page, playwright.expect
    page.goto(stocked.address)
    expect(page.locator("#review dt").first).to_be_visible()
    tab(page, "Runs")
    expect(page.locator("#runs .ps-run").nth(4)).to_be_visible()
    look(page, "Runs")
    for name in ("failed", "routed", "scaled"):
        page.goto(f"{stocked.address}/?run={stocked.runs[name]}")
        expect(page.locator("#run-header h2")).to_have_text(f"The {name} one")
        if name != "failed":
            expect(page.locator("#results .ps-confusion")).to_be_visible()
        look(page, f"run page, {name}")
    state = "succeeded"
    expect(page).to_have_title(f"The scaled one ({state}) · Pointsmith")


@pytest.mark.parametrize("name", ["images", "parts"])
def test_routing_of_images_and_parts(seen: Watched, stocked: Stocked, name: str) -> None:
    page, expect = seen.page, playwright.expect
    page.goto(f"{stocked.address}/?run={stocked.runs[name]}")
    page.click("#explain-look")
    if name == "parts":
        expect(page.locator("#explain canvas").first).to_have_attribute("data-drawn", "64")
    else:
        picture = page.locator("#explain .ps-patches")
        expect(picture).to_have_attribute("data-block", "1")
        page.locator("#explain .ps-blocks input").fill("0")
        expect(picture).to_have_attribute("data-block", "0")
        box = picture.bounding_box()
        assert box
        picture.click(position={"x": box["width"] - 5, "y": box["height"] - 5})
        expect(page.locator("#explain .ps-token h3")).to_have_text("Patch 16 of 16")
    look(page, f"routing of {name}")


def test_compare_and_predict(seen: Watched, stocked: Stocked) -> None:
    page, expect = seen.page, playwright.expect
    page.goto(f"{stocked.address}/?compare={stocked.runs['routed']},{stocked.runs['scaled']}")
    expect(page.locator("#compare-numbers tbody tr")).to_have_count(2)
    expect(page.locator("#compare-charts path.ps-line").first).to_be_attached()
    look(page, "Compare")
    page.goto(f"{stocked.address}/?adapter={stocked.runs['scaled']}")
    expect(page.locator("#answer #label")).to_be_visible()
    look(page, "Predict")
    page.click("#matters")
    expect(page.locator("#matters-said")).to_be_visible()
    page.click("#beside-box button")
    page.click("#beside input")
    page.get_by_role("option", name=re.compile("The routed one")).click()
    expect(page.locator("#second-answer #label, #second-answer h2")).to_be_visible()
    look(page, "Predict, what matters, second adapter")
    for name in ("images", "parts"):
        page.goto(f"{stocked.address}/?adapter={stocked.runs[name]}")
        expect(page.locator("#answer #label")).to_be_visible()
        page.wait_for_timeout(500)
        look(page, f"Predict, {name}")


def test_nothing_jumps_while_a_run_goes_on(seen: Watched, stocked: Stocked) -> None:
    page, expect = seen.page, playwright.expect
    run = stocked.submit("Steady", {
        "data": {"kind": "demo", "train_per_class": 6, "test_per_class": 2, "preparation": {"points": 512}},
        "method": {"kind": "dapt"}, "backbone": {"kind": "demo", "groups": 16}, "epochs": 3, "batch_size": 12,
    })  # fmt: skip
    page.goto(f"{stocked.address}/?run={run}")
    expect(page.locator("#run-header h2")).to_have_text("Steady")
    page.wait_for_timeout(1500)
    page.evaluate(_SHIFTS)
    expect(page.locator("#run-header .ps-chip")).to_have_text("succeeded", timeout=180_000)
    page.wait_for_timeout(2000)
    shifts = page.evaluate("() => window.shifts")
    assert sum(one[0] for one in shifts) < 0.1, shifts


def test_presses_are_answered_at_once_and_nothing_jumps_while_predict_answers(seen: Watched, stocked: Stocked) -> None:
    page, expect = seen.page, playwright.expect
    page.goto(f"{stocked.address}/?adapter={stocked.runs['scaled']}")
    expect(page.locator("#answer #label")).to_be_visible()
    page.wait_for_timeout(1500)
    page.evaluate(_SHIFTS)
    assert heard(page, "#another") < 100
    page.wait_for_timeout(3000)
    expect(page.locator("#answer #label")).to_be_visible()
    shifts = page.evaluate("() => window.shifts")
    assert sum(one[0] for one in shifts) < 0.1, shifts
    tab(page, "Train")
    page.click("#kind-data label:has-text('Folder or zip')")  # a press that is refused is answered as soon
    expect(page.locator("#path .ps-step-wrong")).to_contain_text("Data")
    assert heard(page, "#start") < 100


def heard(page: playwright.Page, button: str) -> float:
    """Press a button; milliseconds of the page's own processor time until it looks otherwise, as the next frame shows.

    Not of the clock, because others may have the processor in between.
    """
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def spent() -> float:
        told = session.send("Performance.getMetrics")["metrics"]
        return next(1000 * one["value"] for one in told if one["name"] == "ThreadTime")

    before = spent()
    changed = page.evaluate(
        """(which) => { const one = document.querySelector(which), look = () => getComputedStyle(one).opacity;
        const before = look();
        one.dispatchEvent(new PointerEvent('pointerdown', {bubbles: true}));
        return look() !== before; }""",
        button,
    )
    took = spent() - before
    session.detach()
    assert changed
    page.click(button)
    return took


def test_the_keyboard_reaches_everything(seen: Watched, stocked: Stocked) -> None:
    page, expect = seen.page, playwright.expect
    page.goto(stocked.address)
    expect(page.locator("#review dt").first).to_be_visible()
    visited = tabbed(page, "#start")
    for part in ("kind-data", "kind-backbone", "kind-method", "aims", "step-recipe"):
        assert part in visited, part
    page.goto(f"{stocked.address}/?run={stocked.runs['scaled']}")
    expect(page.locator("#results [data-cell]").first).to_be_visible()
    page.locator("#results .ps-confusion").evaluate("(one) => one.closest('[tabindex]').focus()")
    tabbed(page, "[data-cell]")
    page.keyboard.press("Enter")
    expect(page.locator("#cell canvas")).to_have_attribute("data-drawn", "512")
    page.goto(f"{stocked.address}/?adapter={stocked.runs['scaled']}")
    expect(page.locator("#viewer canvas")).to_have_attribute("data-drawn", re.compile("."))
    tabbed(page, "#viewer canvas")
    before = page.locator("#viewer canvas").get_attribute("data-camera")
    for key in ("ArrowLeft", "ArrowUp", "-"):
        page.keyboard.press(key)
    playwright.expect(page.locator("#viewer canvas")).not_to_have_attribute("data-camera", str(before))


def tabbed(page: playwright.Page, until: str) -> set[str]:
    """Press Tab until the focus is there; the ids of all that the focus was within. It is never lost."""
    visited: set[str] = set()
    for _ in range(150):
        page.keyboard.press("Tab")
        here, ids = page.evaluate(
            """(until) => { const ids = []; for (let n = document.activeElement; n; n = n.parentElement)
            if (n.id) ids.push(n.id); return [document.activeElement.matches(until), ids]; }""",
            until,
        )
        visited.update(ids)
        if here:
            return visited
    raise AssertionError(f"{until} cannot be reached: {sorted(visited)}")
