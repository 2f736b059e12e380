"""The page of a run in a browser: updates, sources of sentences, sharing, another answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, expect

from tests._support.clients.api import Api, client_of, until
from tests._support.llm.ensembles import as_toml
from tests._support.pages.browser import NARROW, PHONE, find_violations, open_page
from tests._support.pages.staffed import serve_with_mock
from tests._support.servers.processes import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")

_QUICK: Final = "tokens=20&first_ms=5&gap_ms=1"
_MANY: Final[dict[str, Any]] = {
    f"agent-{number:02}": {"model": f"mock?{_QUICK}"} for number in range(50)
}
_AGENTS: Final[dict[str, Any]] = {
    "llm-1": {"model": f"mock?{_QUICK}&seed=1"},
    "llm-2": {"model": "mock?tokens=20&first_ms=300&gap_ms=1&seed=2"},
    "steady": {"model": "mock?tokens=60&first_ms=5&gap_ms=60"},
    "long": {"model": "mock?tokens=60000&first_ms=5&gap_ms=0", "max_tokens": 100_000},
    "writer": {"model": f"mock?{_QUICK}&combine=longest"},
    **_MANY,
}
_ENSEMBLES: Final[dict[str, Any]] = {
    "fanout": {
        "agents": ["llm-1", "llm-2"],
        "combiner": "writer",
        "analyse": True,
        "provenance": True,
    },
    "steady": {"agents": ["llm-1", "llm-2"], "combiner": "steady"},
    "long": {"strategy": "solo", "agents": ["long"]},
    "many": {"agents": list(_MANY), "combiner": "writer"},
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("runs")
    file = folder / "some-ensembles.toml"
    file.write_text(as_toml(_AGENTS, _ENSEMBLES, {}))
    with serve_with_mock(folder, ENSEMBLES_FILE=str(file)) as process:
        yield process


async def _ask(service: Process, ensemble: str) -> str:
    async with client_of(service.url) as api:
        return (await api.ask("What is the capital of France?", ensemble=ensemble))[0].run_id


async def _fits(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


async def test_the_page_of_a_running_run_updates_itself_until_the_end(
    browser: Browser, service: Process
) -> None:
    async with client_of(service.url) as api, open_page(browser) as page:
        run_id = await api.started(ensemble="steady")
        await page.goto(f"{service.url}/web/runs/{run_id}")
        await expect(page.get_by_text("The run is still in progress.")).to_be_visible()
        await page.evaluate("window.isSamePage = true")
        await expect(page.get_by_role("table", name="Timeline")).to_contain_text("steady combiner")
        await expect(page.get_by_text("The run is complete.").first).to_be_visible()
        await expect(page.locator("[data-notice]")).to_contain_text("The run is complete.")
        rows = page.get_by_role("table", name="Timeline").get_by_role("row")
        await expect(rows).to_have_count(4)
        await expect(rows.filter(has_text="llm-2")).to_contain_text("answered, slowest")
        assert await page.evaluate("window.isSamePage")
        await _sees_the_answer(page, api, run_id)


async def _sees_the_answer(page: Page, api: Api, run_id: str) -> None:
    answer = str((await api.shown(run_id))["answer"])
    await expect(page.get_by_role("region", name="Answer", exact=True)).to_contain_text(
        answer.split(".")[0]
    )


async def test_a_sentence_shows_its_agents_by_pointer_touch_and_keyboard(
    browser: Browser, service: Process
) -> None:
    run_id = await _ask(service, "fanout")
    async with open_page(browser, has_touch=True, viewport=PHONE, color_scheme="dark") as page:
        await page.goto(f"{service.url}/web/runs/{run_id}")
        passage = page.locator(".passage").first
        agents = passage.locator(".passage-agents")

        async def is_shown() -> bool:
            box = await agents.bounding_box()
            return box is not None and box["height"] > 5

        assert not await is_shown()
        await passage.hover()
        assert await is_shown()
        await page.keyboard.press("Escape")
        assert await agents.evaluate("each => getComputedStyle(each).clipPath") != "none"
        await page.mouse.move(0, 0)
        await page.get_by_role("link", name="Continue after the sources").focus()
        await page.keyboard.press("Tab")
        await expect(passage).to_be_focused()
        assert await is_shown()
        assert re.search(r"\(llm-[12]", await agents.inner_text())
        await page.get_by_role("heading", name="Run", exact=True).tap()
        await passage.tap()
        assert await is_shown()
        assert not await find_violations(page)
        assert await _fits(page)


async def test_the_link_is_copied_and_another_answer_leads_to_its_page(
    browser: Browser, service: Process
) -> None:
    run_id = await _ask(service, "fanout")
    permissions = ["clipboard-read", "clipboard-write"]
    async with open_page(browser, permissions=permissions) as page:
        path = f"{service.url}/web/runs/{run_id}"
        await page.goto(path)
        await page.get_by_role("button", name="Copy link").click()
        await expect(page.get_by_text("The link is copied.")).to_be_visible()
        assert await page.evaluate("navigator.clipboard.readText()") == path
        assert not await find_violations(page)
        await page.get_by_label("Strategy").select_option("best_of")
        await page.get_by_role("button", name="Create another answer").click()
        await expect(page).not_to_have_url(path)
        await expect(page.get_by_text("The run is complete.").first).to_be_visible()
        await expect(page.get_by_role("heading", name="Ranking")).to_be_visible()
        await page.get_by_role("link", name="The run that this one replaced").click()
        await expect(
            page.get_by_role("link", name="The run that replaced this one")
        ).to_be_visible()


async def test_feedback_about_the_answer_and_an_agent_is_stored_and_removed(
    browser: Browser, service: Process
) -> None:
    run_id = await _ask(service, "fanout")
    async with client_of(service.url) as api, open_page(browser) as page:

        async def ratings() -> list[dict[str, str]]:
            items = (await api.http.get(f"/api/runs/{run_id}/feedback")).json()["items"]
            shown = ("agent", "thumb", "comment", "score")
            return [{name: each[name] for name in shown if name in each} for each in items]

        rated = await api.http.post(
            f"/api/runs/{run_id}/feedback", json={"agent": "llm-2", "score": 0.5}
        )
        assert rated.status_code == 200
        await page.goto(f"{service.url}/web/runs/{run_id}")
        answer = page.get_by_role("form", name="Feedback about the answer")
        box = await answer.get_by_role("textbox").bounding_box()
        assert box
        assert box["width"] > box["height"] * 2  # one line beside the buttons
        saved = page.get_by_text("Your feedback is saved.")
        await answer.get_by_role("button", name="Good").click()
        await expect(answer.get_by_role("button", name="Good", pressed=True)).to_be_visible()
        await page.get_by_text("llm-2, answered").click()
        agent = page.get_by_role("form", name="Feedback about llm-2")
        await agent.get_by_role("textbox").fill("<b>Too long</b>")
        await agent.get_by_role("textbox").press("Enter")
        await expect(saved).to_be_visible()
        commented = {"agent": "llm-2", "score": 0.5, "comment": "<b>Too long</b>"}
        await until(lambda: _are(ratings, [{"thumb": "up"}, commented]))
        assert not await find_violations(page)
        await page.reload()
        await expect(answer.get_by_role("button", name="Good", pressed=True)).to_be_visible()
        await page.get_by_text("llm-2, answered").click()
        await expect(agent.locator("input")).to_have_value("<b>Too long</b>")
        await answer.get_by_role("button", name="Good").click()
        await until(lambda: _are(ratings, [commented]))


async def _are(load: Callable[[], Awaitable[list[Any]]], expected: list[Any]) -> bool:
    return await load() == expected


async def test_fifty_agents_and_a_long_answer_are_shown_without_scripts(
    browser: Browser, service: Process
) -> None:
    many, long = await _ask(service, "many"), await _ask(service, "long")
    async with open_page(browser, java_script_enabled=False, viewport=NARROW) as page:
        await page.goto(f"{service.url}/web/runs/{many}")
        await expect(page.get_by_role("table", name="Timeline").get_by_role("row")).to_have_count(
            52
        )
        await expect(page.get_by_role("region", name="agent-49")).to_be_visible()
        await expect(page.get_by_role("button", name="Copy link")).to_be_hidden()
        await page.goto(f"{service.url}/web/runs/{long}")
        answer = page.get_by_role("region", name="Answer", exact=True)
        assert len(await answer.inner_text()) > 100_000
        await page.get_by_role("link", name="long").click()
        await expect(page.get_by_role("heading", name="Answer of long")).to_be_visible()
    async with open_page(browser, viewport=NARROW) as page:
        await page.goto(f"{service.url}/web/runs/{many}")
        assert await _fits(page)
        assert not await find_violations(page)
