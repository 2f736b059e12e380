"""`/docs` in a real browser: rendering, requests from the page, and no external resources."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import ConsoleMessage, Page, Route, async_playwright, expect

from tests._support.servers.processes import Process
from tests._support.servers.programs import chromium


@pytest_asyncio.fixture
async def page(service: Process) -> AsyncIterator[Page]:
    """The page, of which nothing may be refused or fetched from elsewhere."""
    complaints: list[str] = []

    async def refuse(route: Route) -> None:
        complaints.append(route.request.url)
        await route.abort()

    def note(message: ConsoleMessage) -> None:
        if "the server responded with a status of 4" not in message.text:  # as tests want it to
            complaints.append(message.text)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        shown = await browser.new_page()
        shown.on("console", note)
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        await shown.route(lambda url: not url.startswith((service.url, "data:")), refuse)
        await shown.goto(f"{service.url}/docs")
        yield shown
        await browser.close()
    assert not complaints


async def test_the_page_shows_every_operation(page: Page, service: Process) -> None:
    described = await (await page.request.get(f"{service.url}/openapi.json")).json()
    wanted = {
        operation["operationId"]
        for methods in described["paths"].values()
        for operation in methods.values()
    }
    shown = await page.eval_on_selector_all("article:has(form)", "all => all.map(one => one.id)")
    assert set(shown) == wanted
    assert len(shown) == len(wanted)


async def test_every_internal_link_of_the_page_has_a_target(page: Page) -> None:
    dangling = await page.eval_on_selector_all(
        "a[href^='#']",
        "all => all.map(one => one.hash.slice(1)).filter(id => !document.getElementById(id))",
    )
    assert dangling == []


async def test_a_form_sends_its_example_and_shows_the_stream(page: Page) -> None:
    await page.click("#process button")
    await expect(page.locator("#process pre")).to_contain_text("run.finished")
    await expect(page.locator("#process output")).to_contain_text("200 text/event-stream")


async def test_a_form_sends_its_field_values(page: Page) -> None:
    await page.fill("#list_conversations [name=limit]", "101")
    await page.click("#list_conversations button")
    await expect(page.locator("#list_conversations pre")).to_contain_text("bad_request")
    await page.fill("#show_run [name=run_id]", "a/b ü?")
    await page.click("#show_run button")
    await expect(page.locator("#show_run output")).to_contain_text("404")


async def test_the_output_is_in_sight_after_send(page: Page) -> None:
    for size in ({"width": 1280, "height": 800}, {"width": 390, "height": 844}):
        await page.set_viewport_size(size)  # type: ignore[arg-type]  # its own TypedDict
        await page.click("#process button")
        await expect(page.locator("#process pre")).to_contain_text("run.finished")
        await expect(page.locator("#process pre")).to_be_in_viewport(ratio=0.9)
        last_lines = "pre => pre.scrollHeight - pre.scrollTop - pre.clientHeight"
        assert await page.eval_on_selector("#process pre", last_lines) < 5


async def test_entries_of_the_menu_differ(page: Page) -> None:
    entries = await page.locator("nav .route").all_inner_texts()
    assert len(set(entries)) == len(entries)
    cut = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    assert await page.eval_on_selector_all("nav .route", cut) == []


async def test_only_requests_that_a_form_can_send_have_a_button(page: Page) -> None:
    socket = page.locator("article", has=page.locator("b.ws"))
    await expect(socket).to_have_count(1)
    await expect(socket.locator("button")).to_have_count(0)
    forms = page.locator("article:has(form)")
    sending = page.locator("article:has(form button)")
    assert await sending.count() == await forms.count() - 1


async def test_the_menu_is_closed_on_a_phone(page: Page) -> None:
    entry = page.locator("nav a[href='#search']")
    await expect(entry).to_be_visible()
    await page.set_viewport_size({"width": 390, "height": 844})
    await expect(entry).to_be_hidden()
    await page.click("nav summary")
    await entry.click()
    await expect(entry).to_be_hidden()
    await expect(page.locator("#search h3")).to_be_in_viewport()
    assert await page.evaluate("document.documentElement.scrollWidth") == 390


async def test_the_page_sends_the_key_that_is_entered(page: Page) -> None:
    await page.get_by_label("API key").fill("sk-example")
    async with page.expect_request("**/api/me") as sent:
        await page.locator("article", has_text="/api/me").get_by_role("button").first.click()
    request = await sent.value
    assert request.headers["authorization"] == "Bearer sk-example"
