"""The system's browser for tests of pages: contexts that report every fault, and axe-core."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    ViewportSize,
    async_playwright,
    expect,
)

from tests._support.missing import miss
from tests._support.patience import PATIENCE_S
from tests._support.servers.programs import NODE_FOLDER, chromium

PHONE: ViewportSize = {"width": 390, "height": 844}
NARROW: ViewportSize = {"width": 360, "height": 740}

# A page loads nothing while it has no network, and requests that tests break on purpose fail.
_EXPECTED = ("the server responded with a status of 4", "net::ERR_")
_SERIOUS = {"serious", "critical"}
_AXE = NODE_FOLDER / "node_modules" / "axe-core" / "axe.min.js"


@asynccontextmanager
async def open_browser(*arguments: str) -> AsyncIterator[Browser]:
    """Run the system's browser, without a window; expectations wait as long as other conditions."""
    expect.set_options(timeout=PATIENCE_S * 1000)
    # Chromium's sandbox does not work for root, and in many containers for no user at all.
    options = [*arguments, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium(), args=options)
        yield launched
        await launched.close()


@asynccontextmanager
async def open_page(browser: Browser, **context: Any) -> AsyncIterator[Page]:
    """Open a page in a context of its own, such as `viewport=PHONE, color_scheme="dark"`.

    At the end it fails for an error of a script, a violation of the policy, a dialog, and a request
    to another origin than that of the page.
    """
    faults: list[str] = []
    visitor = await browser.new_context(**context)
    page = await visitor.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)

    def note_message(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(each in message.text for each in _EXPECTED):
            faults.append(message.text)

    async def note_dialog(dialog: Dialog) -> None:
        if dialog.type != "beforeunload":
            faults.append(f"dialog: {dialog.message}")
        await dialog.accept()

    def note_request(request: Request) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob"):
            own = urlsplit(page.url if page.url != "about:blank" else request.url).netloc
            if urlsplit(request.url).netloc != own:
                faults.append(f"request to another origin: {request.url}")

    page.on("console", note_message)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", note_dialog)
    page.on("request", note_request)
    try:
        yield page
    finally:
        await visitor.close()
    assert not faults


async def find_violations(page: Page) -> list[str]:
    """Return axe's serious findings for WCAG 2.2 A and AA, each with its first element."""
    await page.evaluate(_axe_source())  # an added script element would violate the page's policy
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    script = "tags => axe.run(document, {runOnly: tags, resultTypes: ['violations']})"
    found = await page.evaluate(script, tags)
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0].get('failureSummary')}"
        for each in found["violations"]
        if each["impact"] in _SERIOUS
    ]


@cache
def _axe_source() -> str:
    if not _AXE.is_file():
        miss("no axe-core: `make test` installs it with npm")
    return _AXE.read_text("utf-8")
