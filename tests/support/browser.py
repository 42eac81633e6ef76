"""A Chromium for the browser tests, and a page in it that records what goes wrong."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@dataclass
class Watched:
    """A browser page with what went wrong on it."""

    page: playwright.Page
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    leaving: bool = False
    """Between the request for another page, or for the same one again, and that page being there."""

    def asked(self, request: playwright.Request, own: tuple[str, ...]) -> None:
        if not request.url.startswith(own):
            self.outside.append(request.url)
        self.leaving = self.leaving or (request.is_navigation_request() and request.frame == self.page.main_frame)

    def arrived(self) -> None:
        self.leaving = False

    def said(self, message: playwright.ConsoleMessage) -> None:
        """Note an error; that its own connection ended is no error of Gradio's while the page is left."""
        hung_up = message.text.strip().startswith(
            ("AbortError: signal is aborted without reason", "Connection errored out.")
        )
        if message.type == "error" and not (hung_up and self.leaving):
            self.errors.append(message.text)


def watched(browser: playwright.Browser, address: str, width: int = 1000, height: int = 800) -> Watched:
    page = browser.new_page(viewport={"width": width, "height": height})
    found = Watched(page)
    page.on("console", found.said)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("request", lambda request: found.asked(request, (address, "data:", "blob:")))
    page.on("domcontentloaded", lambda _: found.arrived())
    return found


def drawn(page: playwright.Page) -> int:
    """The length of the drawn loss curve, as text: it grows with every point."""
    return len(page.locator("#charts path.ps-line").first.get_attribute("d") or "")


def open_tab(page: playwright.Page, name: str) -> None:
    """Open a tab of the page by its id, such as `runs`."""
    page.locator(f"[role=tab][data-tab-id={name}]:visible").first.click()
