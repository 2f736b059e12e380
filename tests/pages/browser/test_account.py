"""The account page in a browser: keys, logins, the password, and usage as plots."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests._support.accounts.visitors import PASSWORD
from tests._support.pages.browser import PHONE, find_violations, open_page
from tests._support.pages.staffed import USER, VIEWER, ask, entering, serve_staffed
from tests._support.servers.processes import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")

_NEW_PASSWORD = "staple of correct horses"


@pytest.fixture(scope="module")
def staffed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serve_staffed(tmp_path_factory.mktemp("account")) as process:
        yield process


async def _log_in(page: Page, process: Process, name: str, password: str = PASSWORD) -> None:
    await page.goto(f"{process.url}/web/login?next=/web/account")
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Account")).to_be_visible()


def _status_with(process: Process, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{process.url}/api/me", headers=headers).status_code


# The row and the left edge of each control of the page's top, in the order of the Tab key.
_TOP_PLACES = """() => [...document.querySelectorAll('.top a, .top button')].map(each => {
    const box = each.getBoundingClientRect();
    return [Math.round((box.top + box.height / 2) / 20), box.left];
})"""


async def test_a_key_is_created_shown_once_copied_rotated_and_revoked(
    browser: Browser, staffed: Process
) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    async with open_page(browser, permissions=permissions) as page:
        await _log_in(page, staffed, USER)
        keys = page.get_by_role("list", name="API keys")
        shown = page.get_by_role("region", name="New key")
        await expect(page.get_by_text("You have no keys.")).to_be_visible()

        await page.get_by_label("Name", exact=True).fill('<img src=x onerror="alert(1)">')
        await page.get_by_label("Valid").select_option("for 30 days")
        await page.get_by_label("write: rename").uncheck()
        await page.get_by_role("button", name="Create key").click()
        await expect(shown).to_be_focused()
        key = await shown.get_by_role("textbox").input_value()
        assert re.fullmatch(r"sk-lsse-\w{12}-\w{43}-\w+", key)
        assert _status_with(staffed, key) == 200
        await shown.get_by_role("button", name="Copy").click()
        await expect(shown.get_by_role("status")).to_have_text("Copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == key
        await expect(keys.get_by_role("listitem")).to_contain_text("Scopes: read, run.")
        await expect(keys.get_by_role("listitem")).to_contain_text("valid until")

        await page.reload()
        await expect(shown).to_be_hidden()
        assert key not in await page.content()

        await keys.get_by_label("The old key ends").select_option("at once")
        await keys.get_by_role("button", name="Rotate").click()
        await expect(shown).to_be_focused()
        rotated = await shown.get_by_role("textbox").input_value()
        assert (_status_with(staffed, key), _status_with(staffed, rotated)) == (401, 200)

        confirm = page.get_by_role("dialog")
        newest = keys.get_by_role("listitem").filter(has_text=rotated[8:20])
        await newest.get_by_role("button", name="Revoke").click()
        await confirm.get_by_role("button", name="Cancel").click()
        assert _status_with(staffed, rotated) == 200
        await newest.get_by_role("button", name="Revoke").click()
        await confirm.get_by_role("button", name="Yes").click()
        await expect(newest).to_have_count(0)
        await expect(page.get_by_role("status").last).to_contain_text("is revoked")
        assert _status_with(staffed, rotated) == 401


async def test_a_key_is_created_with_the_keyboard_alone(browser: Browser, staffed: Process) -> None:
    async with open_page(browser) as page:
        await _log_in(page, staffed, USER)
        await page.get_by_label("Name", exact=True).focus()
        await page.keyboard.type("by keyboard")
        for _ in range(6):  # the expiry, four scopes and the button
            await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Create key")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("region", name="New key")).to_be_focused()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Copy")).to_be_focused()
        revoke = page.get_by_role("button", name="Revoke by keyboard")
        await revoke.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(revoke).to_be_focused()


async def test_an_error_is_shown_and_loses_no_input(browser: Browser, staffed: Process) -> None:
    async with open_page(browser) as page:
        await _log_in(page, staffed, USER)
        await page.get_by_label("Current password").fill("not the password")
        await page.get_by_label("New password").fill(_NEW_PASSWORD)
        await page.get_by_role("button", name="Change password").click()
        await expect(page.get_by_role("status").last).to_contain_text("password is wrong")
        await expect(page.get_by_label("New password")).to_have_value(_NEW_PASSWORD)


async def test_a_login_ends_and_a_new_password_replaces_the_old_one(
    browser: Browser, staffed: Process
) -> None:
    async with open_page(browser) as page, open_page(browser) as other:
        await _log_in(page, staffed, VIEWER)
        await _log_in(other, staffed, VIEWER)
        await page.reload()
        logins = page.get_by_role("list", name="Logins of browsers")
        await expect(logins.get_by_role("listitem")).to_have_count(2)
        await logins.get_by_role("button", name="End").click()
        await expect(logins.get_by_role("listitem")).to_have_count(1)
        await other.reload()
        await expect(other.get_by_role("heading", name="Log in")).to_be_visible()

        await page.get_by_label("Current password").fill(PASSWORD)
        await page.get_by_label("New password").fill(_NEW_PASSWORD)
        await page.get_by_role("button", name="Change password").click()
        await expect(page.get_by_role("status").last).to_contain_text("is changed")
        await _log_in(other, staffed, VIEWER, _NEW_PASSWORD)


@pytest.mark.parametrize(
    "context",
    [{}, {"color_scheme": "dark"}, {"viewport": PHONE}],
    ids=["light", "dark", "phone"],
)
async def test_the_page_is_accessible_and_not_wider_than_its_window(
    browser: Browser, staffed: Process, context: dict[str, object]
) -> None:
    async with entering(staffed, USER) as user:
        await ask(user, "Why is the sky blue?")
        await user.send("POST", "/api/keys", json={"name": "laptop " * 14})
    async with open_page(browser, **context) as page:
        await _log_in(page, staffed, USER)
        figure = page.get_by_role("figure", name="Usage")
        await expect(figure.get_by_role("img", name="Cost by day")).to_be_visible()
        await expect(figure.get_by_role("img", name="Tokens by day")).to_be_visible()
        await expect(figure.get_by_role("rowheader", name="joiner")).to_be_visible()
        await figure.get_by_text("The numbers of each day").click()
        assert await find_violations(page) == []
        assert await page.evaluate(_TOP_PLACES) == sorted(await page.evaluate(_TOP_PLACES))
        await page.get_by_label("Name", exact=True).fill("one more")
        await page.get_by_role("button", name="Create key").click()
        await expect(page.get_by_role("region", name="New key")).to_be_focused()
        assert await find_violations(page) == []
        await page.get_by_role("button", name="Revoke").first.click()
        assert await find_violations(page) == []
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wanted, given = await page.evaluate(widths)
        assert wanted <= given


async def test_without_scripts_the_page_can_be_read_and_sends_no_password(
    browser: Browser, staffed: Process
) -> None:
    async with open_page(browser, java_script_enabled=False) as page:
        await _log_in(page, staffed, USER)
        await expect(page.get_by_role("figure", name="Usage")).to_be_visible()
        await expect(page.get_by_text("Reading works without JavaScript")).to_be_visible()
        await expect(page.get_by_role("button", name="Create key")).to_be_disabled()
        await expect(page.get_by_label("Current password")).to_be_disabled()
        await page.get_by_role("link", name="7 days").click()
        await expect(page.get_by_text("in the last 7 days")).to_be_visible()
