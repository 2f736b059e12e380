"""The service in a real browser: EventSource, streaming fetch and WebSocket."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests._support.clients.breakable_line import Line, line_to
from tests._support.clients.browser_scripts import EVENT_SOURCE, FETCH, FETCH_AND_LEAVE, SOCKET
from tests._support.llm.awkward_texts import text_of
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def blank(browser: Browser) -> AsyncIterator[Page]:
    """A page without an address yet."""
    page = await browser.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    yield page
    await page.close()


async def visit(page: Page, address: str) -> Page:
    """Let `page` be one of the origin of `address`.

    It has to come from there: Chromium lets none that was made up open a WebSocket to this machine.
    """
    await page.goto(address)
    return page


@pytest_asyncio.fixture(loop_scope="module")
async def page(blank: Page, service: Process) -> Page:
    """A page of the service's own origin."""
    return await visit(blank, f"{service.url}/health")


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
    assert told["opened"] == 1  # it reconnected once, and the 204 made it stop


async def test_an_event_source_resumes_after_its_connection_broke(blank: Page, line: Line) -> None:
    page = await visit(blank, f"{line.url}/health")
    run_id = await started(page, ensemble="steady")
    line.cut(after=b'"status": "Streaming"')
    told = await page.evaluate(EVENT_SOURCE, f"/api/runs/{run_id}/events")
    assert line.was_cut, (told, line.responses[-4_000:])
    assert told["opened"] == 2
    assert b"\r\nlast-event-id: " in line.requests.lower()
    assert_whole(told["seen"])
    assert answer_of(told["seen"]) == await stored_answer(page, run_id)


async def test_an_event_source_reconnects_to_a_restarted_service_and_gets_the_end_of_its_run(
    blank: Page, start: Start
) -> None:
    service = start()
    page = await visit(blank, f"{service.url}/health")
    run_id = await started(page, ensemble="endless")
    begin = f"url => {{ window.told = ({EVENT_SOURCE})(url); }}"
    await page.evaluate(begin, f"/api/runs/{run_id}/events")
    await page.wait_for_function("() => window.seen.length > 20")
    service.crash()
    start(port=service.port)
    told = await page.evaluate("() => window.told")
    assert_whole(told["seen"])
    assert told["seen"][-1]["code"] == "interrupted"
    assert answer_of(told["seen"]) == await stored_answer(page, run_id)


async def test_an_event_source_of_an_unknown_run_does_not_reconnect(page: Page) -> None:
    told = await page.evaluate(EVENT_SOURCE, "/api/runs/run_unknown/events")
    assert told == {"seen": [], "opened": 0}


async def test_fetch_reads_the_events_as_they_are_produced(page: Page) -> None:
    told = await page.evaluate(FETCH, ["/api/process", asking(ensemble="steady"), {}])
    assert (told["status"], told["type"]) == (200, "text/event-stream")
    assert len(told["blocks"]) > 10
    assert told["text"].count('"final": true') == 1
    assert told["run"] in told["text"]


async def test_fetch_reads_plain_text_as_it_is_produced(page: Page) -> None:
    told = await page.evaluate(FETCH, ["/stream", {"prompt": "Why?", "ensemble": "steady"}, {}])
    assert told["type"].startswith("text/plain")
    assert len(told["blocks"]) > 10
    assert told["text"] == await stored_answer(page, told["run"])


async def test_a_reloaded_page_can_resume_its_run(page: Page) -> None:
    run_id = await started(page, ensemble="steady")
    await page.reload()
    told = await page.evaluate(EVENT_SOURCE, f"/api/runs/{run_id}/events?starting_after=3")
    assert [event["seq"] for event in told["seen"]][:2] == [4, 5]
    assert told["seen"][-1]["type"] == "run.finished"


async def test_a_page_of_another_origin_cannot_read_responses(
    blank: Page, service: Process, mock_llm: Process
) -> None:
    page = await visit(blank, mock_llm.url.replace("/v1", "/stats"))
    script = "url => fetch(url).then(() => 'read', error => error.name)"
    assert await page.evaluate(script, f"{service.url}/health") == "TypeError"


# --- chat ---


def chat(text: str = "Why is the sky blue?", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def socket_of(process: Process) -> str:
    return f"ws{process.url.removeprefix('http')}/chat"


async def test_fetch_reads_a_chat_as_it_is_produced(page: Page) -> None:
    told = await page.evaluate(FETCH, ["/chat", chat(stream=True, ensemble="steady"), {}])
    assert (told["status"], told["type"]) == (200, "text/event-stream")
    assert len(told["blocks"]) > 10
    *tokens, done, end = told["text"].split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    text = "".join(token.removeprefix("data: ") for token in tokens)
    assert text == await stored_answer(page, told["run"])


async def test_a_socket_answers_several_requests_in_turn(page: Page, service: Process) -> None:
    sent = [chat("One?"), chat("Two?", ensemble="solo"), chat("Three?", conversation_id="ws-3")]
    told = await page.evaluate(SOCKET, [socket_of(service), sent, 0])
    assert [answer["done"] for answer in told["answers"]] == ["true"] * 3
    assert all(len(answer["tokens"]) > 1 for answer in told["answers"])
    assert (told["code"], told["wasClean"]) == (1000, True)
    script = "async url => (await (await fetch(url)).json()).messages[1].content"
    stored = await page.evaluate(script, "/api/conversations/ws-3")
    assert "".join(told["answers"][2]["tokens"]) == stored


async def test_a_socket_stays_open_after_a_cancelled_answer(page: Page, service: Process) -> None:
    sent = [chat(ensemble="endless"), chat("And now?")]
    told = await page.evaluate(SOCKET, [socket_of(service), sent, 5])
    cancelled, answered = told["answers"]
    assert len(cancelled["tokens"]) >= 5
    assert cancelled["error"]
    assert "done" not in cancelled
    assert answered["done"] == "true"


async def test_a_socket_stays_open_after_an_invalid_request(page: Page, service: Process) -> None:
    sent = [{"messages": []}, chat()]
    told = await page.evaluate(SOCKET, [socket_of(service), sent, 0])
    assert "messages" in told["answers"][0]["error"]
    assert told["answers"][1]["done"] == "true"


async def test_a_page_of_another_origin_cannot_open_a_socket(
    blank: Page, service: Process, mock_llm: Process
) -> None:
    page = await visit(blank, mock_llm.url.replace("/v1", "/stats"))
    told = await page.evaluate(SOCKET, [socket_of(service), [chat()], 0])
    assert not told["opened"]
    assert told["answers"] == []


async def test_a_page_of_an_allowed_origin_can_open_a_socket(
    blank: Page, start: Start, mock_llm: Process
) -> None:
    service = start(ALLOWED_ORIGINS=mock_llm.url.removesuffix("/v1"))
    page = await visit(blank, mock_llm.url.replace("/v1", "/stats"))
    told = await page.evaluate(SOCKET, [socket_of(service), [chat()], 0])
    assert [answer["done"] for answer in told["answers"]] == ["true"]


async def test_a_stopping_service_closes_sockets_with_a_close_frame(
    blank: Page, start: Start
) -> None:
    service = start()
    page = await visit(blank, f"{service.url}/health")
    opened = """url => new Promise(resolve => {
        window.socket = new WebSocket(url);
        window.ended = new Promise(done => { window.socket.onclose = done; });
        window.socket.onopen = resolve;
    })"""
    await page.evaluate(f"url => ({opened})(url).then(() => null)", socket_of(service))
    service.signal(signal.SIGTERM)
    code = await page.evaluate("async () => (await window.ended).code")
    assert code == 1012  # the service restarts: come back


# --- awkward text ---


@pytest.mark.parametrize("name", ["everything", "megabyte"])
async def test_an_awkward_text_arrives_unchanged_in_a_page(
    blank: Page, theatre: Process, name: str
) -> None:
    page = await visit(blank, f"{theatre.url}/health")
    question = f"Please recite {name}."
    run_id = await started(page, message=question)
    told = await page.evaluate(EVENT_SOURCE, f"/api/runs/{run_id}/events")
    assert answer_of(told["seen"]) == text_of(name)
    told = await page.evaluate(FETCH, ["/stream", {"prompt": question}, {}])
    assert told["text"] == text_of(name)
    told = await page.evaluate(SOCKET, [socket_of(theatre), [chat(question)], 0])
    assert "".join(told["answers"][0]["tokens"]) == text_of(name)
