"""Registration and login in a real browser, without scripts and by the accessible names."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests._support.accounts.visitors import PASSWORD, code_of
from tests._support.pages.browser import open_page
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(start: Start) -> Process:
    return start(AUTH="required")


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page whose policy is violated nowhere."""
    async with open_page(browser) as opened:
        yield opened


async def test_a_person_registers_logs_out_and_logs_in_again(page: Page, guarded: Process) -> None:
    await page.goto(f"{guarded.url}/web/")
    await expect(page).to_have_url(f"{guarded.url}/web/login?next=%2Fweb%2F")
    await page.get_by_role("link", name="Register").click()
    await page.get_by_label("Name", exact=True).fill("Zoë")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_label("Invitation or code").fill(code_of(guarded))
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_text("logged in as Zoë, with the role admin")).to_be_visible()

    cookies = {cookie["name"]: cookie for cookie in await page.context.cookies()}
    assert cookies["lsse-session"]["httpOnly"]
    assert cookies["lsse-session"]["sameSite"] == "Lax"
    assert await page.evaluate("document.cookie") == ""

    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    await page.get_by_label("Name", exact=True).fill("ZOË")
    await page.get_by_label("Password", exact=True).fill("not the password")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    await expect(page.get_by_label("Name", exact=True)).to_have_value("ZOË")
    await expect(page.get_by_label("Password", exact=True)).to_have_value("")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_text("logged in as Zoë")).to_be_visible()


async def test_a_script_with_the_cookie_reads_and_needs_the_token_to_change(
    page: Page, guarded: Process
) -> None:
    await page.goto(f"{guarded.url}/web/register")
    await page.get_by_label("Name", exact=True).fill("bob")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_text("logged in as bob")).to_be_visible()
    await page.goto(f"{guarded.url}/docs")  # whose policy permits requests
    statuses = await page.evaluate(
        """async () => {
            const listed = await fetch('/api/auth/sessions')
            const token = (await listed.json()).csrf_token
            const create = headers => fetch('/api/keys', {
                method: 'POST', body: '{"name": "of a script"}',
                headers: {'Content-Type': 'application/json', ...headers},
            })
            const [without, right] = [await create({}), await create({'X-CSRF-Token': token})]
            return [listed.status, without.status, right.status]
        }"""
    )
    assert statuses == [200, 403, 201]
