"""The browser of a module, for all tests of pages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests._support.pages.browser import open_browser


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The system's browser."""
    async with open_browser() as opened:
        yield opened
