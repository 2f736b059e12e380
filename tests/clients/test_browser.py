"""A real browser reads the service: EventSource, fetch with a stream, and WebSocket."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.clients.cutting import Line, line_to
from tests.clients.programs import chromium
from tests.served.processes import PATIENCE_S, Process

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Opens a stream and tells all that came once the browser gave it up for good.
EVENT_SOURCE = """
url => new Promise(resolve => {
  const source = new EventSource(url), seen = [];
  let opened = 0;
  source.onopen = () => { opened += 1; };
  source.onmessage = event => seen.push({id: event.lastEventId, ...JSON.parse(event.data)});
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) resolve({seen, opened});
  };
})
"""

# Posts, and tells when each block of the answer came, in blocks read so far.
FETCH = """
async ([url, body, headers]) => {
  const response = await fetch(url, {
    method: 'POST', body: JSON.stringify(body),
    headers: {'Content-Type': 'application/json', ...headers},
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const blocks = [];
  for (let next = await reader.read(); !next.done; next = await reader.read())
    blocks.push(next.value);
  return {
    status: response.status, blocks, text: blocks.join(''),
    type: response.headers.get('Content-Type'), run: response.headers.get('X-Run-Id'),
  };
}
"""

# Asks, reads one block, and goes away.
FETCH_AND_LEAVE = """
async ([url, body]) => {
  const leaving = new AbortController();
  const response = await fetch(url, {
    method: 'POST', body: JSON.stringify(body), signal: leaving.signal,
    headers: {'Content-Type': 'application/json'},
  });
  await response.body.getReader().read();
  leaving.abort();
  return response.headers.get('X-Run-Id');
}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The system's browser, without a window."""
    program = chromium()
    # Chromium's sandbox does not work for root, and in many containers for nobody.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=program, args=options)
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def blank(browser: Browser) -> AsyncIterator[Page]:
    """A page without an address yet."""
    page = await browser.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    yield page
    await page.close()


async def visit(page: Page, origin: str) -> Page:
    """Let `page` be one that the server at `origin` might have sent."""
    await page.route(
        f"{origin}/page", lambda route: route.fulfill(content_type="text/html", body="<p>Ask.")
    )
    await page.goto(f"{origin}/page")
    return page


@pytest_asyncio.fixture(loop_scope="module")
async def page(blank: Page, service: Process) -> Page:
    """A page of the service's own origin."""
    return await visit(blank, service.url)


@pytest_asyncio.fixture(loop_scope="module")
async def line(service: Process) -> AsyncIterator[Line]:
    """A line to the service that can be cut."""
    async with line_to(service.port) as opened:
        yield opened


def asking(**fields: Any) -> dict[str, Any]:
    return {"message": "Why is the sky blue?", "message_id": "message_123", **fields}


def answer_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["message"] for event in events if event["type"] == "answer.delta")


async def started(page: Page, **fields: Any) -> str:
    """Ask from the page, leave, and return the run's id."""
    run_id: str = await page.evaluate(FETCH_AND_LEAVE, ["/api/process", asking(**fields)])
    return run_id


async def stored_answer(page: Page, run_id: str) -> str:
    script = "async url => (await (await fetch(url)).json()).answer"
    answer: str = await page.evaluate(script, f"/api/runs/{run_id}")
    return answer


def assert_whole(seen: list[dict[str, Any]]) -> None:
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert [event.get("final", False) for event in seen] == [False] * (len(seen) - 1) + [True]


async def test_an_event_source_sees_every_event_of_a_run_and_stops_at_its_end(page: Page) -> None:
    run_id = await started(page, ensemble="steady")
    told = await page.evaluate(EVENT_SOURCE, f"/api/runs/{run_id}/events")
    assert_whole(told["seen"])
    assert {event["id"] for event in told["seen"]} == {
        f"{run_id}-{seq}" for seq in range(1, len(told["seen"]) + 1)
    }
    assert answer_of(told["seen"]) == await stored_answer(page, run_id)
    assert told["opened"] == 1  # it came back once, and the 204 told it to stop


async def test_an_event_source_goes_on_where_its_connection_broke(blank: Page, line: Line) -> None:
    page = await visit(blank, line.url)
    run_id = await started(page, ensemble="steady")
    line.cut(after=b'"status": "Streaming"')
    told = await page.evaluate(EVENT_SOURCE, f"/api/runs/{run_id}/events")
    assert line.was_cut
    assert told["opened"] == 2
    assert b"\r\nlast-event-id: " in line.requests.lower()
    assert_whole(told["seen"])
    assert answer_of(told["seen"]) == await stored_answer(page, run_id)


async def test_an_event_source_that_asks_for_an_unknown_run_gives_up(page: Page) -> None:
    told = await page.evaluate(EVENT_SOURCE, "/api/runs/run_unknown/events")
    assert told == {"seen": [], "opened": 0}


async def test_fetch_reads_the_fan_out_while_it_is_written(page: Page) -> None:
    told = await page.evaluate(FETCH, ["/api/process", asking(ensemble="steady"), {}])
    assert (told["status"], told["type"]) == (200, "text/event-stream")
    assert len(told["blocks"]) > 10
    assert told["text"].count('"final": true') == 1
    assert told["run"] in told["text"]


async def test_fetch_reads_plain_text_while_it_is_written(page: Page) -> None:
    told = await page.evaluate(FETCH, ["/stream", {"prompt": "Why?", "ensemble": "steady"}, {}])
    assert told["type"].startswith("text/plain")
    assert len(told["blocks"]) > 10
    assert told["text"] == await stored_answer(page, told["run"])


async def test_a_page_that_leaves_can_come_back_to_its_run(page: Page) -> None:
    run_id = await started(page, ensemble="steady")
    await page.reload()
    told = await page.evaluate(EVENT_SOURCE, f"/api/runs/{run_id}/events?starting_after=3")
    assert [event["seq"] for event in told["seen"]][:2] == [4, 5]
    assert told["seen"][-1]["type"] == "run.finished"


async def test_a_page_of_another_origin_reads_nothing(
    blank: Page, service: Process, mock_llm: Process
) -> None:
    page = await visit(blank, mock_llm.url.removesuffix("/v1"))
    script = "url => fetch(url).then(() => 'read', error => error.name)"
    assert await page.evaluate(script, f"{service.url}/health") == "TypeError"
