"""The list of conversations in a browser: search while typing, renaming, deletion with undo."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import httpx
import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests._support.clients.api import client_of
from tests._support.pages.browser import PHONE, find_violations, open_page
from tests._support.pages.staffed import serve_with_mock
from tests._support.servers.processes import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")

_HOSTILE = '<img src=x onerror="window.__xss=1"> & \u202ereversed'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serve_with_mock(tmp_path_factory.mktemp("conversations")) as process:
        titles = [f"Numbered {number:02}" for number in range(60)]
        _create(process, [*titles, "About quokkas", "About wombats", _HOSTILE])
        yield process


def _create(service: Process, titles: Sequence[str]) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for title in titles:
            made = client.post("/conversation/session", json={"session_name": title})
            assert made.status_code in (200, 201), made.text


async def _open(page: Page, service: Process, query: str = "") -> None:
    await page.goto(f"{service.url}/web/conversations{query}")
    await expect(page.get_by_role("list", name="Conversations")).to_be_visible()


async def _titles(service: Process, word: str) -> list[str]:
    async with client_of(service.url) as api:
        listed = (await api.http.get("/api/conversations?limit=100")).json()["items"]
    return [each["title"] for each in listed if word in each["title"]]


async def test_a_search_while_typing_shows_the_result_of_the_last_letter(
    browser: Browser, service: Process
) -> None:
    async with open_page(browser) as page:
        await _open(page, service)
        delays = iter([0.6])

        async def delay(route: Route) -> None:  # the first request is answered last
            await asyncio.sleep(next(delays, 0))
            await route.continue_()

        await page.route("**/web/conversations?q=*", delay)
        field = page.get_by_role("searchbox", name="Search conversations")
        await field.press_sequentially("wom")
        await page.wait_for_timeout(300)
        await field.fill("quokk")
        items = page.get_by_role("list", name="Conversations").get_by_role("listitem")
        await expect(items).to_have_count(1)
        await expect(items.locator("mark")).to_have_text("quokk")
        await expect(page.get_by_role("status")).to_contain_text("1 conversation matches")
        await page.wait_for_timeout(500)
        await expect(items).to_contain_text("About quokkas")
        assert page.url.endswith("?q=quokk")
        await page.reload()
        await expect(items).to_contain_text("About quokkas")
        await field.fill("nothing like this")
        await expect(items).to_have_count(0)
        await expect(page.get_by_role("status")).to_contain_text("Nothing matches")
        await field.fill("")
        await expect(items).to_have_count(25)
        assert page.url.endswith("/web/conversations")


async def test_a_conversation_is_renamed_with_the_keyboard_alone(
    browser: Browser, service: Process
) -> None:
    _create(service, ["About numbats"])
    async with open_page(browser, viewport=PHONE, color_scheme="dark") as page:
        await _open(page, service, "?q=numbats")
        assert not await find_violations(page)
        await page.get_by_role("button", name="Rename About numbats").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("textbox", name="Title")).to_be_focused()
        await page.keyboard.type("Discarded")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Rename About numbats")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.type(_HOSTILE + " numbats")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("Renamed to")
        await expect(page.get_by_role("button", name=f"Rename {_HOSTILE} numbats")).to_be_focused()
        assert await page.evaluate("window.__xss") is None
        assert await _titles(service, "numbats") == [f"{_HOSTILE} numbats"]
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


async def test_a_deletion_is_undone_and_a_closed_page_deletes_nothing(
    browser: Browser, service: Process
) -> None:
    _create(service, ["Undone bilby", "Abandoned bilby", "Deleted bilby"])
    async with open_page(browser) as page:
        await _open(page, service, "?q=bilby")
        await page.get_by_role("button", name="Delete Undone bilby").click()
        undo = page.get_by_role("button", name="Undo: deletion of Undone bilby")
        await expect(undo).to_be_focused()
        assert not await find_violations(page)
        await page.get_by_role("searchbox").fill("bilby Undone")  # the list is loaded again
        await expect(page.get_by_role("listitem")).to_have_count(1)
        await undo.click()
        await expect(page.get_by_role("button", name="Delete Undone bilby")).to_be_focused()
        await page.get_by_role("searchbox").fill("bilby")
        await page.get_by_role("button", name="Delete Deleted bilby").click()
        await page.get_by_role("button", name="Delete now: Deleted bilby").click()
        await expect(page.get_by_role("status")).to_contain_text("“Deleted bilby” is deleted.")
        await page.get_by_role("button", name="Delete Abandoned bilby").click()
    assert sorted(await _titles(service, "bilby")) == ["Abandoned bilby", "Undone bilby"]


async def test_a_deletion_is_sent_after_its_time_and_restored_when_it_fails(
    browser: Browser, service: Process
) -> None:
    _create(service, ["Late dunnart", "Offline dunnart"])
    async with open_page(browser) as page:
        await page.clock.install()
        await _open(page, service, "?q=dunnart")
        await page.get_by_role("button", name="Delete Late dunnart").click()
        await page.clock.run_for(9_000)
        assert len(await _titles(service, "dunnart")) == 2
        await page.clock.run_for(2_000)
        await expect(page.get_by_role("status")).to_contain_text("“Late dunnart” is deleted.")
        await page.context.set_offline(True)
        await page.get_by_role("button", name="Delete Offline dunnart").click()
        await page.get_by_role("button", name="Delete now: Offline dunnart").click()
        await expect(page.get_by_role("status")).to_contain_text("is not deleted")
        await expect(page.get_by_role("button", name="Delete Offline dunnart")).to_be_visible()
    assert await _titles(service, "dunnart") == ["Offline dunnart"]


async def test_all_conversations_are_reached_with_and_without_scripts(
    browser: Browser, service: Process
) -> None:
    async with open_page(browser) as page:
        await _open(page, service)
        items = page.get_by_role("list", name="Conversations").get_by_role("listitem")
        await expect(items).to_have_count(25)
        await page.get_by_role("link", name="Load more").click()
        await expect(items).to_have_count(50)
        await expect(items.nth(25).get_by_role("link").first).to_be_focused()
        assert not await find_violations(page)
        await items.last.get_by_role("link", name="Branches").click()
        await expect(page.get_by_text("No question has been asked")).to_be_visible()
        assert not await find_violations(page)
    async with open_page(browser, java_script_enabled=False) as page:
        await _open(page, service)
        await page.get_by_role("link", name="Load more").click()
        await expect(page.get_by_role("listitem")).to_have_count(25)
        await expect(page.get_by_role("button", name="Delete")).to_have_count(0)
        await page.get_by_role("searchbox", name="Search conversations").fill("wombats")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator("mark")).to_have_text("wombats")
