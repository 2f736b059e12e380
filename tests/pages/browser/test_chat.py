"""The chat page in a browser: asking, agents at work, actions, keyboard, phone, hostile answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ViewportSize, expect

from tests._support.pages.browser import NARROW, PHONE, find_violations, open_page
from tests._support.pages.chat_page import ChatPage
from tests._support.pages.writing_server import SHORT, TEXTS, writing, writing_ensembles
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service whose models write the texts that questions name."""
    folder = tmp_path_factory.mktemp("chat")
    with writing() as base_url:
        file = folder / "some-ensembles.toml"
        file.write_text(writing_ensembles(base_url))
        settings = {"LLM_BASE_URL": base_url, "ENSEMBLES_FILE": str(file), **UNHURRIED_STORE}
        fixed = {"USE_LLM_MOCK": "false", "LLM_KEY": "sk-any", "DRAIN_S": "1"}
        with run_server(folder, "serve", "--port", "0", **settings, **fixed) as process:
            yield process


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, service: Process) -> AsyncIterator[ChatPage]:
    async with open_page(browser, viewport={"width": 1200, "height": 900}) as page:
        opened = ChatPage(page, service.url)
        await opened.open()
        yield opened


async def test_a_question_is_answered_by_agents_and_a_combiner(chat: ChatPage) -> None:
    run_id = await chat.ask("Please write short.")
    await chat.has_ended()
    for name in ("first", "second", "writer"):
        await expect(chat.agent(name)).to_contain_text("answered")
        await expect(chat.agent(name)).to_contain_text("tokens")
    await expect(chat.agent("first")).to_contain_text("An agent answers briefly.")
    await expect(chat.answer.get_by_role("heading", name="Tides")).to_be_visible()
    await expect(chat.answer.get_by_role("cell", name="4 m")).to_have_class("end")
    await expect(chat.answer.locator(".tok-nb")).to_have_text("print")
    shown = await chat.read_answer()
    assert await find_violations(chat.page) == []

    await chat.page.reload()
    assert await chat.read_answer() == shown
    await expect(chat.agent("first")).to_contain_text("answered")
    assert await chat.read_run_id() == run_id

    await chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await chat.page.get_by_role("button", name="Copy answer").click()
    await expect(chat.page.get_by_role("button", name="Copied")).to_be_visible()
    assert await chat.page.evaluate("navigator.clipboard.readText()") == SHORT
    async with chat.page.expect_download() as started:
        await chat.page.get_by_role("link", name="Export").click()
    assert (await started.value).suggested_filename.endswith(".md")


async def test_a_second_question_continues_and_an_edited_one_branches(chat: ChatPage) -> None:
    await chat.ask("First question: write short.")
    await chat.has_ended()
    address = chat.page.url
    await chat.ask("Second question.", "alone")
    await chat.has_ended()
    assert chat.page.url == address
    await expect(chat.page.locator(".exchange")).to_have_count(2)
    await expect(chat.answer).to_have_count(1)  # that of the newest question
    await expect(chat.answer).to_have_text("An agent answers briefly.")

    edited = chat.page.locator(".exchange").last
    await edited.get_by_role("button", name="Edit question").click()
    await expect(chat.question).to_have_value("Second question.")
    await chat.question.fill("Another second question.")
    await chat.ask_button.click()
    versions = chat.page.get_by_role("navigation", name="Versions of this question")
    await expect(versions).to_contain_text("2 of 2")
    await chat.has_ended()
    await expect(chat.page.locator(".exchange .text").first).to_have_text(
        "First question: write short."
    )
    await versions.get_by_role("link", name="Previous version").click()
    await expect(versions).to_contain_text("1 of 2")
    await expect(chat.page.get_by_text("Second question.", exact=True)).to_be_visible()

    await chat.page.get_by_role("button", name="Edit question").first.click()
    await chat.question.fill("Another first question.")
    await chat.ask_button.click()
    await expect(chat.page.locator(".exchange")).to_have_count(1)
    await chat.has_ended()
    await chat.agent("writer").get_by_role("button", name="Ask only this agent").click()
    await expect(versions).to_contain_text("3 of 3")
    await chat.has_ended()
    await expect(chat.agent("first")).to_have_count(0)


async def test_a_failed_agent_is_explained_and_the_answer_marked(chat: ChatPage) -> None:
    await chat.ask("Please write short.", "lopsided")
    await chat.has_ended()
    await expect(chat.agent("broken")).to_contain_text("failed")
    await expect(chat.agent("broken").get_by_role("listitem")).not_to_be_empty()
    await expect(chat.page.get_by_text("Some agents are missing: broken.")).to_be_visible()
    assert await find_violations(chat.page) == []


@pytest.mark.parametrize("viewport", [PHONE, {"width": 1024, "height": 768}])
async def test_while_an_answer_is_written_stop_is_in_view_and_times_count(
    browser: Browser, service: Process, viewport: ViewportSize
) -> None:
    async with open_page(browser, viewport=viewport) as page:
        chat = ChatPage(page, service.url)
        await chat.open()
        await chat.ask("Please write slow.")
        await expect(chat.agent("writer").locator(".facts")).to_have_text(
            re.compile(r"^[1-9]\d* s$")
        )
        await expect(chat.answer).to_contain_text("Line 20")
        assert await page.evaluate("document.body.scrollHeight > innerHeight")
        for place in (0, 300):
            await page.evaluate("place => scrollTo(0, place)", place)
            await expect(chat.stop_button).to_be_in_viewport(ratio=1)
        await chat.stop_button.click()
        await chat.has_ended("Stopped")
        await expect(chat.agent("writer")).to_contain_text("stopped")
        await expect(chat.agent("writer").locator(".facts")).to_have_text("")


async def test_a_phone_in_the_dark_by_the_keyboard_alone(
    browser: Browser, service: Process
) -> None:
    async with open_page(browser, viewport=PHONE, color_scheme="dark") as page:
        chat = ChatPage(page, service.url)
        await chat.open("/web/chat?ensemble=alone&question=A+draft")
        await expect(chat.question).to_have_value("A draft")
        await expect(chat.ensemble).to_have_value("alone")
        await chat.open()
        for _ in range(20):
            await page.keyboard.press("Tab")
            if await chat.question.evaluate("element => element === document.activeElement"):
                break
        await page.keyboard.type("Please write slow, in two")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("lines.")
        await page.reload()
        await expect(chat.question).to_have_value("Please write slow, in two\nlines.")
        await chat.question.focus()
        await page.keyboard.press("Enter")
        await expect(chat.answer).to_contain_text("Line 2 of")
        assert await find_violations(page) == []
        while not await chat.stop_button.evaluate("element => element === document.activeElement"):
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await chat.has_ended("Stopped")
        await expect(page.get_by_role("button", name="Try again")).to_be_visible()
        await expect(chat.answer).to_contain_text("Line 2 of")
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert await find_violations(page) == []
        await page.set_viewport_size(NARROW)
        assert await page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]


async def test_without_javascript_a_question_is_asked_and_read(
    browser: Browser, service: Process
) -> None:
    async with open_page(browser, java_script_enabled=False) as page:
        chat = ChatPage(page, service.url)
        await chat.open()
        await chat.question.fill("Please write short.")
        await chat.ask_button.click()
        await expect(page).to_have_url(f"{service.url}/web/chat/conv_{page.url[-32:]}")
        await expect(chat.run).to_contain_text("Complete", timeout=PATIENCE_S * 1000)
        await expect(chat.answer.get_by_role("heading", name="Tides")).to_be_visible()
        await expect(chat.agent("first")).to_contain_text("answered")
        await expect(page.get_by_role("button", name="Copy answer")).to_have_count(0)


async def test_hostile_answers_run_nothing(chat: ChatPage) -> None:
    await chat.ask("Please write hostile. <img src=x onerror=alert(1)><script>alert(2)</script>")
    await chat.has_ended()
    shown = await chat.read_answer()
    await chat.page.reload()
    assert await chat.read_answer() == shown
    await chat.page.wait_for_timeout(200)  # for scripts of elements that load
    assert await chat.page.evaluate("window.__xss") is None
    dangerous = """() => [...document.querySelectorAll('article *')].filter(each =>
        /^(IMG|SCRIPT|IFRAME|SVG|OBJECT|FORM|STYLE|LINK|META|BASE)$/i.test(each.tagName) ||
        each.getAttributeNames().some(name => /^(on|style|src)/.test(name))).length"""
    assert await chat.page.evaluate(dangerous) == 0
    assert await chat.answer.evaluate("element => element.querySelectorAll('[id]').length") == 0


async def test_fifty_agents_have_a_region_each(chat: ChatPage) -> None:
    await chat.ask("Please write short.", "crowd")
    await chat.has_ended()
    for number in (1, 25, 50):
        await expect(chat.agent(f"first#{number}")).to_contain_text("answered")
    await expect(chat.page.locator("section.agent")).to_have_count(51)
    assert await find_violations(chat.page) == []


@pytest.mark.parametrize("name", ["megabyte", "paragraph", "code"])
async def test_an_answer_of_a_megabyte_arrives_in_bounded_parts(chat: ChatPage, name: str) -> None:
    run_id = await chat.ask(f"Please write {name}.", "alone")
    await chat.has_ended()
    assert await chat.read_stored_answer(run_id) == TEXTS[name]
    expected = "".join(TEXTS[name].replace("*", "").replace("```python", "").split())
    await chat.page.wait_for_function(
        "length => document.querySelector('.answer').textContent.replace(/\\s/g, '').length"
        " >= length",
        arg=len(expected.replace("```", "")),
    )
    longest = await chat.answer.evaluate(
        "element => Math.max(...[...element.children].map(each => each.textContent.length))"
    )
    assert longest < 20_000
