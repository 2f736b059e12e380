"""The chat page with broken connections, a killed service, two tabs and late visitors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests._support.clients.breakable_line import line_to
from tests._support.pages.browser import open_page
from tests._support.pages.chat_page import ChatPage
from tests._support.pages.writing_server import TEXTS, writing, writing_ensembles
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE

pytestmark = pytest.mark.asyncio(loop_scope="module")

StartChat = Callable[[int], Process]
SLOW = "Please write slow."


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartChat]:
    """Start a service at a port; each has the same models and stored data."""
    folder: Path = tmp_path_factory.mktemp("resumed")
    with ExitStack() as stack:
        base_url = stack.enter_context(writing())
        file = folder / "some-ensembles.toml"
        file.write_text(writing_ensembles(base_url))

        def begin(port: int) -> Process:
            settings = {"LLM_BASE_URL": base_url, "ENSEMBLES_FILE": str(file), **UNHURRIED_STORE}
            fixed = {"USE_LLM_MOCK": "false", "LLM_KEY": "sk-any", "DRAIN_S": "1"}
            return stack.enter_context(
                run_server(folder, "serve", "--port", str(port), **settings, **fixed)
            )

        yield begin


async def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def words(text: str) -> str:
    return " ".join(text.replace("**", "").split())


async def test_a_cut_and_a_dead_connection_lose_and_repeat_no_letter(
    browser: Browser, start: StartChat
) -> None:
    service = start(0)
    async with line_to(service.port) as line, open_page(browser) as page:
        chat = ChatPage(page, line.url)
        await chat.open()
        line.cut(after=b'"at": ')
        run_id = await chat.ask(SLOW)
        for position in (b'"at": 2', b'"at": 7', b'"at": 11'):
            await until(lambda: line.was_cut)
            line.was_cut = False
            line.cut(after=position)
        await until(lambda: line.was_cut)
        await chat.has_ended()
        await expect(chat.answer).to_contain_text("Line 79 of the slow answer.")
        assert await chat.read_answer() == words(TEXTS["slow"])
        assert await chat.read_stored_answer(run_id) == TEXTS["slow"]
    service.end()


async def test_a_page_without_a_network_continues_the_answer_afterwards(
    browser: Browser, start: StartChat
) -> None:
    service = start(0)
    async with line_to(service.port) as line, open_page(browser) as page:
        chat = ChatPage(page, line.url)
        await chat.open()
        await chat.ask(SLOW)
        await expect(chat.answer).to_contain_text("Line 3 of")
        await page.context.set_offline(True)
        await line.end()
        await expect(page.get_by_text("No connection.")).to_be_visible()
        await asyncio.sleep(1)
        await page.context.set_offline(False)
        await chat.has_ended()
        await expect(page.get_by_text("No connection.")).to_be_hidden()
        assert await chat.read_answer() == words(TEXTS["slow"])
    service.end()


async def test_two_tabs_and_a_late_device_show_the_same_answer(
    browser: Browser, start: StartChat
) -> None:
    service = start(0)
    async with open_page(browser) as first, open_page(browser) as second:
        chat, late = ChatPage(first, service.url), ChatPage(second, service.url)
        await chat.open()
        await chat.ask(SLOW)
        await expect(chat.answer).to_contain_text("Line 10 of")
        await late.open(chat.page.url.removeprefix(service.url))
        await expect(late.stop_button).to_be_enabled()
        await expect(late.agent("first")).to_contain_text("answered")
        for each in (chat, late):
            await each.has_ended()
            assert await each.read_answer() == words(TEXTS["slow"])
    service.end()


async def test_a_visitor_who_left_finds_the_complete_answer(
    browser: Browser, start: StartChat
) -> None:
    service = start(0)
    async with open_page(browser) as page:
        chat = ChatPage(page, service.url)
        await chat.open()
        await chat.ask(SLOW)
        address = page.url.removeprefix(service.url)
        await page.goto("about:blank")
        await chat.open(address)
        await chat.has_ended()
        assert await chat.read_answer() == words(TEXTS["slow"])
    service.end()


async def test_a_killed_service_leaves_the_text_and_offers_to_try_again(
    browser: Browser, start: StartChat
) -> None:
    service = start(0)
    async with open_page(browser) as page:
        chat = ChatPage(page, service.url)
        await chat.open()
        await chat.ask(SLOW)
        await expect(chat.answer).to_contain_text("Line 12 of")
        service.crash()
        await expect(page.get_by_text("No connection.")).to_be_visible()
        start(service.port)
        await chat.has_ended("Interrupted")
        await expect(page.get_by_text("No connection.")).to_be_hidden()
        kept = await chat.read_answer()
        assert "Line 12 of" in kept
        assert words(TEXTS["slow"]).startswith(kept.rstrip("* "))
        stored = await chat.read_stored_answer(await chat.read_run_id())
        assert words(stored).rstrip("* ") == kept.rstrip("* ")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("button", name="Try again")).to_be_hidden()
        await chat.has_ended()
        assert await chat.read_answer() == words(TEXTS["slow"])
