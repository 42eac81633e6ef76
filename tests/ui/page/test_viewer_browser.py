"""The viewer in Chromium, without a server: picks, follows, saves, recovers, and leaves no point out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pointsmith.ui import theme
from pointsmith.ui.viewer import TEMPLATE, payload, with_parts, with_weights

from tests.support.browser import CHROMIUM, playwright

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
POINTS = np.array([[0, 0, 0], [0.9, 0, 0], [0, 0.9, 0], [0, 0, 0.9]], np.float32)


@pytest.fixture
def page(browser: playwright.Browser) -> Iterator[playwright.Page]:
    opened = browser.new_page(viewport={"width": 900, "height": 700})
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    both = "".join(f'<div id="{name}" style="width:420px;display:inline-block">{TEMPLATE}</div>' for name in "ab")
    opened.set_content(
        f"<head>{theme.head()}<style>{theme.css()}</style></head><body><div class='ps-linked'>{both}</div></body>"
    )
    opened.evaluate("() => { for (const id of ['a', 'b']) window[id] = pointsmithView(document.getElementById(id)); }")
    yield opened
    assert errors == []
    opened.close()


def show(page: playwright.Page, value: dict[str, Any], where: str = "ab") -> None:
    for one in where:
        page.evaluate(f"(value) => window.{one}.show(value)", value)
        playwright.expect(page.locator(f"#{one} canvas")).to_have_attribute("data-drawn", str(value["count"]))


def parts() -> dict[str, Any]:
    shown = payload(POINTS, 4, np.array([0, 1, 1, 2]))
    return with_parts(shown, ("leg", "se<b>at"), np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]))


def test_cameras_are_linked_and_settle_in_full(page: playwright.Page) -> None:
    show(page, parts())
    page.locator("#a canvas").focus()
    for key in ("ArrowLeft", "ArrowUp", "+"):
        page.keyboard.press(key)
    page.wait_for_timeout(400)
    cameras = [page.locator(f"#{one} canvas").get_attribute("data-camera") for one in "ab"]
    assert cameras[0] == cameras[1] != None  # noqa: E711
    assert not page.evaluate("() => a.moving || b.moving")
    full = page.evaluate("() => [a.canvas.width, Math.round(a.canvas.clientWidth * Math.min(devicePixelRatio, 2))]")
    assert full[0] == full[1]


def test_a_click_tells_of_the_point_under_it(page: playwright.Page) -> None:
    show(page, payload(POINTS, 4, np.array([0, 1, 1, 2])))
    at = page.evaluate(
        """() => { const i = 1 * 3, c = a.canvas, box = c.getBoundingClientRect(), m = a.matrix(box.width / box.height);
        const [x, y, z] = a.place.subarray(i, i + 3), w = m[3]*x + m[7]*y + m[11]*z + m[15];
        return [box.left + (1 + (m[0]*x + m[4]*y + m[8]*z + m[12]) / w) * box.width / 2,
                box.top + (1 - (m[1]*x + m[5]*y + m[9]*z + m[13]) / w) * box.height / 2]; }"""
    )
    page.mouse.click(*at)
    told = page.locator("#a .ps-picked")
    playwright.expect(told).to_have_text("point 2 · (0.9000, 0.000, 0.000) · patch 2")
    ring = page.locator("#a .ps-ring").bounding_box()
    assert ring is not None
    assert abs(ring["x"] + ring["width"] / 2 - at[0]) < 3 and abs(ring["y"] + ring["height"] / 2 - at[1]) < 3
    page.mouse.click(at[0], at[1] + 60)
    playwright.expect(told).to_be_hidden()


def test_what_is_saved_is_what_is_shown(page: playwright.Page, tmp_path: Path) -> None:
    show(page, parts(), "a")
    with page.expect_download() as saved:
        page.click("#a .ps-ply")
    text = Path(saved.value.path()).read_text()
    head, _, body = text.partition("end_header\n")
    assert "comment part 1 se<b>at" in head and "element vertex 4" in head
    assert [line.split()[-1] for line in head.splitlines() if line.startswith("property")] == [
        *("x", "y", "z", "red", "green", "blue", "patch", "part", "true_part")
    ]
    rows = np.array([[float(value) for value in line.split()] for line in body.splitlines()])
    assert np.allclose(rows[:, :3], POINTS, atol=2e-5)
    assert rows[:, 6:].tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 0], [2, 0, 0]]
    assert (rows[0, 3:6] != rows[1, 3:6]).any() and (rows[1, 3:6] == rows[2, 3:6]).all()
    import trimesh

    path = tmp_path / "saved.ply"
    path.write_text(text)
    assert np.allclose(trimesh.load(path).vertices, POINTS, atol=2e-5)

    with page.expect_download() as taken:
        page.click("#a .ps-photo")
    picture = np.asarray(Image.open(taken.value.path()).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(picture, axis=0)) > 20, "points stand out from the ground"


def test_weights_are_a_colour_of_their_own(page: playwright.Page) -> None:
    show(page, payload(POINTS, 4, np.array([0, 1, 1, 2])), "a")
    colour = page.locator("#a .ps-colour")
    assert colour.input_value() == "height"
    show(page, with_weights(payload(POINTS, 4, np.array([0, 1, 1, 2])), np.array([0.5, 0.0, -0.25, 0.1])), "a")
    assert colour.input_value() == "weight"
    shown = np.array(page.evaluate("() => Array.from(a.shownColours)")).reshape(4, 3)
    grey = shown[1]
    assert grey.std() < 1e-6 and np.abs(shown[0] - grey).max() > np.abs(shown[3] - grey).max() > 0.01
    assert shown[2, 2] > shown[2, 0], "what speaks against is blue"
    page.evaluate("() => a.choose(2)")
    assert "-25.0 % of probability" in page.locator("#a .ps-picked").inner_text()


def test_a_lost_context_comes_back(page: playwright.Page) -> None:
    show(page, parts(), "a")
    page.evaluate("() => { window.lose = a.gl.getExtension('WEBGL_lose_context'); lose.loseContext(); }")
    playwright.expect(page.locator("#a .ps-view-message")).to_be_visible()
    page.evaluate("() => { delete a.canvas.dataset.drawn; lose.restoreContext(); }")
    playwright.expect(page.locator("#a canvas")).to_have_attribute("data-drawn", "4")
    playwright.expect(page.locator("#a .ps-view-message")).to_be_hidden()


def test_two_fingers_zoom(page: playwright.Page) -> None:
    show(page, parts(), "a")
    page.evaluate(
        """() => { const send = (type, id, x) => a.canvas.dispatchEvent(new PointerEvent(type,
            { pointerId: id, pointerType: 'touch', clientX: x, clientY: 200, bubbles: true, buttons: 1 }));
        a.canvas.setPointerCapture = () => {};
        send('pointerdown', 11, 150); send('pointerdown', 12, 250);
        window.before = a.camera.distance; send('pointermove', 12, 350);
        send('pointerup', 11, 150); send('pointerup', 12, 350); }"""
    )
    assert page.evaluate("() => a.camera.distance < before * 0.7")
