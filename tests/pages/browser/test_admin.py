"""The start page and the page of administrators in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests._support.accounts.visitors import PASSWORD
from tests._support.pages.browser import PHONE, find_violations, open_page
from tests._support.pages.staffed import ADMIN, USER, VIEWER, ask, entering, serve_staffed
from tests._support.servers.processes import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def staffed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serve_staffed(tmp_path_factory.mktemp("admin")) as process:
        yield process


async def _log_in(page: Page, process: Process, name: str = ADMIN) -> None:
    await page.goto(f"{process.url}/web/login?next=/web/admin")
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("navigation", name="Pages")).to_be_visible()


def _log_in_status(process: Process, name: str) -> int:
    body = {"name": name, "password": PASSWORD}
    return httpx.post(f"{process.url}/api/auth/login", json=body).status_code


async def test_an_invited_person_registers_is_changed_disabled_and_deleted(
    browser: Browser, staffed: Process
) -> None:
    async with open_page(browser) as page, open_page(browser) as guest:
        await _log_in(page, staffed)
        invitation = page.get_by_role("form", name="An invitation")
        await invitation.get_by_label("Role").select_option("viewer")
        await page.get_by_role("button", name="Create invitation").click()
        shown = page.get_by_role("region", name="New invitation")
        await expect(shown).to_be_focused()
        address = await shown.get_by_role("textbox").input_value()

        await guest.goto(address)
        await guest.get_by_label("Name", exact=True).fill("Carol")
        await guest.get_by_label("Password", exact=True).fill(PASSWORD)
        await guest.get_by_role("button", name="Register").click()
        await expect(guest.get_by_text("logged in as Carol, with the role viewer")).to_be_visible()

        await page.reload()
        carol = page.get_by_role("list", name="Users").get_by_role("listitem")
        carol = carol.filter(has_text="Carol")
        await carol.get_by_text("Change Carol").click()
        await carol.get_by_label("Role").select_option("user")
        await carol.get_by_label("Tokens").fill("many")
        await carol.get_by_role("button", name="Save").click()
        result = page.get_by_role("status").last
        await expect(result).to_contain_text("limits")
        await expect(carol.get_by_label("Tokens")).to_have_value("many")
        await carol.get_by_label("Tokens").fill("100/day")
        await carol.get_by_label("Open streams").fill("3")
        await carol.get_by_role("button", name="Save").click()
        await expect(result).to_have_text("Carol is changed.")
        await expect(carol).to_contain_text("Role user")
        await expect(carol).to_contain_text("streams 3, tokens 100/day")

        await carol.get_by_text("Change Carol").click()
        await carol.get_by_label("Open streams").fill("")
        await carol.get_by_label("Tokens").fill("")
        await carol.get_by_label("Disabled").check()
        await carol.get_by_role("button", name="Save").click()
        await expect(carol).to_contain_text("disabled since")
        await expect(carol).not_to_contain_text("limits")
        assert _log_in_status(staffed, "Carol") == 401

        await carol.get_by_text("Change Carol").click()
        await carol.get_by_role("button", name="Delete Carol").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Type Carol to confirm").fill("Bob")
        await dialog.get_by_role("button", name="Yes").click()
        await expect(result).to_contain_text("nothing was changed")
        await carol.get_by_role("button", name="Delete Carol").click()
        await dialog.get_by_label("Type Carol to confirm").fill("Carol")
        await page.keyboard.press("Enter")
        await expect(result).to_have_text("Carol is deleted.")
        await expect(carol).to_have_count(0)


async def test_the_last_administrator_is_not_disabled(browser: Browser, staffed: Process) -> None:
    async with open_page(browser) as page:
        await _log_in(page, staffed)
        own = page.get_by_role("list", name="Users").get_by_role("listitem")
        own = own.filter(has_text="(you)")
        await own.get_by_text(f"Change {ADMIN}").click()
        await own.get_by_label("Disabled").check()
        await own.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status").last).to_contain_text("last administrator")


@pytest.mark.parametrize(
    "context",
    [{}, {"color_scheme": "dark"}, {"viewport": PHONE}],
    ids=["light", "dark", "phone"],
)
async def test_the_pages_are_accessible_and_not_wider_than_their_window(
    browser: Browser, staffed: Process, context: dict[str, object]
) -> None:
    async with entering(staffed, USER) as user:
        await ask(user, "Why is the sky blue?", "lopsided")
    async with open_page(browser, **context) as page:
        await page.goto(f"{staffed.url}/web/login")
        assert await find_violations(page) == []
        await page.goto(f"{staffed.url}/web/register")
        assert await find_violations(page) == []
        await _log_in(page, staffed)
        for each in (ADMIN, VIEWER):
            await page.get_by_text(f"Change {each}").click()
        figure = page.get_by_role("figure", name="Usage")
        await expect(figure.get_by_role("rowheader", name=USER)).to_be_visible()
        await expect(page.get_by_role("rowheader", name="everyone")).to_be_visible()
        await expect(page.get_by_role("cell", name="login.succeeded").first).to_be_visible()
        assert await find_violations(page) == []
        wanted, given = await page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wanted <= given
        await page.goto(f"{staffed.url}/web/")
        assert await find_violations(page) == []


async def test_a_question_of_the_empty_start_page_leads_to_the_chat(
    browser: Browser, staffed: Process
) -> None:
    async with open_page(browser) as page:
        await page.goto(f"{staffed.url}/web/login?next=/web/")
        await page.get_by_label("Name", exact=True).fill(ADMIN)
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_role("button", name="Log in").click()
        questions = page.get_by_role("list", name="Questions to try")
        await expect(questions.get_by_role("link")).to_have_count(4)
        await expect(page.get_by_text("USE_LLM_MOCK=false")).to_be_visible()
        first = questions.get_by_role("link").first
        question = await first.inner_text()
        await first.click()
        await expect(page.get_by_role("textbox", name="Question")).to_have_value(question)
        await page.get_by_role("button", name="Ask", exact=True).click()
        await expect(page.get_by_role("status", name="Run")).to_contain_text("Complete")

        await page.goto(f"{staffed.url}/web/")
        recent = page.get_by_role("list", name="Recent conversations").get_by_role("link")
        await expect(recent).to_have_text([question])
        await recent.click()
        await expect(page.get_by_role("region", name="Answer")).to_be_visible()
