"""The span tree of real runs, with the service in process and the models on a real socket."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypercorn.asyncio import serve
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.app import Services, create_app
from service.server.process import _config
from service.settings import load_settings
from service.store.migrate import migrate
from telemetry import Telemetry, TelemetryConfig
from tests._support.clients.api import (
    Api,
    asking,
    assert_whole,
    client_of,
    events_of,
    exchange,
    follow,
    until,
)
from tests._support.servers.services import Told
from tests._support.telemetry.span_trees import (
    COMBINE,
    LLM_1,
    LLM_2,
    PROCESS,
    QUICK,
    Tree,
    agent,
    call,
    process,
)


@dataclass
class Traced:
    """A service with recorded spans that a test can inspect."""

    services: Services
    exporter: InMemorySpanExporter
    url: str
    api: Api

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def span(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def tree(self, root: ReadableSpan) -> Tree:
        """Return the names below a span, each level sorted."""
        below = [
            span
            for span in self.spans
            if span.parent and root.context and span.parent.span_id == root.context.span_id
        ]
        return root.name, sorted(self.tree(span) for span in below)

    async def ended(self, name: str) -> ReadableSpan:
        """Wait for the one span of this name."""

        async def there() -> bool:
            return any(span.name == name for span in self.spans)

        await until(there)
        return self.span(name)


@asynccontextmanager
async def tracing(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch, **more: str
) -> AsyncIterator[Traced]:
    for name, value in {**told(folder), **more}.items():
        monkeypatch.setenv(name, value)
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(TelemetryConfig(span_exporter=exporter))
    settings = load_settings(None)
    await migrate(settings.database)
    services = create_app(settings, {}, telemetry=telemetry)
    sock = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    config = _config(sock)
    config.keep_alive_timeout = 0.5
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(services.asgi, config, shutdown_trigger=stop.wait))
    try:
        async with client_of(url) as api:
            yield Traced(services, exporter, url, api)
    finally:
        stop.set()
        await serving


@pytest.fixture
async def traced(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Traced]:
    with caplog.at_level(logging.DEBUG, logger="opentelemetry"):
        async with tracing(tmp_path, told, monkeypatch, DETACH_GRACE_S="0.2") as found:
            yield found
    assert "Failed to detach" not in caplog.text


def assert_sound(spans: list[ReadableSpan]) -> None:
    """Require one trace, and that each span lies within its parent's and all have ended."""
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    by_id = {span.context.span_id: span for span in spans if span.context}
    for span in spans:
        assert span.start_time
        assert span.end_time
        assert span.start_time <= span.end_time
        if span.parent:
            parent = by_id[span.parent.span_id]
            assert parent.start_time
            assert parent.start_time <= span.start_time


async def test_a_run_is_one_tree_from_the_request_to_the_upstream_request(traced: Traced) -> None:
    response = await traced.api.http.post("/api/process", json=asking())
    root = await traced.ended(PROCESS)
    assert traced.tree(root) == process("fanout", LLM_1, LLM_2, COMBINE)
    assert len(traced.spans) == 1 + 1 + 1 + 3 * 3 + 1
    assert_sound(traced.spans)
    assert root.kind is SpanKind.SERVER
    assert root.context
    assert format(root.context.trace_id, "032x") == response.headers["x-trace-id"]
    assert response.headers["traceresponse"] == (
        f"00-{root.context.trace_id:032x}-{root.context.span_id:016x}-01"
    )
    assert all(span.status.status_code is not StatusCode.ERROR for span in traced.spans)


async def test_spans_have_the_runs_attributes_and_cost(traced: Traced) -> None:
    response = await traced.api.http.post("/api/process", json=asking())
    root = (await traced.ended(PROCESS)).attributes or {}
    assert root["http.route"] == "/api/process"
    assert root["http.response.status_code"] == 200
    assert root["http.response.body.size"] == len(response.content)
    assert root["run.id"] == response.headers["x-run-id"]
    workflow = traced.span("invoke_workflow fanout").attributes or {}
    assert workflow["gen_ai.usage.output_tokens"] == 70
    assert workflow["app.outcome"] == "completed"
    assert workflow["gen_ai.conversation.id"] == response.headers["x-conversation-id"]
    chat = traced.span(f"chat {QUICK}&seed=1")
    attributes = chat.attributes or {}
    assert attributes["gen_ai.usage.output_tokens"] == 20
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["app.attempt"] == 1
    first_chunk_s = attributes["gen_ai.response.time_to_first_chunk"]
    assert isinstance(first_chunk_s, float)
    assert chat.kind is SpanKind.CLIENT


async def test_a_chat_span_covers_the_stream_and_not_just_its_headers(traced: Traced) -> None:
    await traced.api.ask(ensemble="brief")
    await traced.ended(PROCESS)
    (chat,) = [span for span in traced.spans if span.name.startswith("chat mock?tokens=40")]
    (wire,) = [
        span
        for span in traced.spans
        if span.parent and chat.context and span.parent.span_id == chat.context.span_id
    ]
    assert chat.end_time and wire.end_time  # noqa: PT018
    assert chat.end_time - wire.end_time > 0.4e9


async def test_a_failed_agent_is_an_error_and_its_run_is_not(traced: Traced) -> None:
    await traced.api.ask(ensemble="one-cut")
    root = await traced.ended(PROCESS)
    bad = agent("bad-cut", call(f"{QUICK}&fault=cut"))
    assert traced.tree(root) == process("one-cut", bad, LLM_1, COMBINE)
    assert_sound(traced.spans)
    for name in ("invoke_agent bad-cut", f"chat {QUICK}&fault=cut"):
        span = traced.span(name)
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "upstream_incomplete"
    assert traced.span("invoke_workflow one-cut").status.status_code is not StatusCode.ERROR


async def test_a_failed_run_is_an_error_although_its_response_is_200(traced: Traced) -> None:
    await traced.api.ask(ensemble="both-bad")
    root = await traced.ended(PROCESS)
    assert_sound(traced.spans)
    workflow = traced.span("invoke_workflow both-bad")
    assert workflow.status.status_code is StatusCode.ERROR
    assert (workflow.attributes or {})["error.type"] == "too_few_answers"
    assert root.status.status_code is not StatusCode.ERROR


async def test_a_call_without_a_connection_is_complete(traced: Traced) -> None:
    await traced.api.ask(ensemble="one-refuse")
    await traced.ended(PROCESS)
    assert_sound(traced.spans)
    assert traced.span("chat mock?fault=refuse").status.status_code is StatusCode.ERROR


async def test_a_retried_call_is_two_chat_spans_of_one_agent(traced: Traced) -> None:
    await traced.api.ask("Is this traced?", ensemble="again")
    await traced.ended(PROCESS)
    assert_sound(traced.spans)
    again = traced.span("invoke_agent again")
    chats = [
        span
        for span in traced.spans
        if span.parent and again.context and span.parent.span_id == again.context.span_id
    ]
    chats.sort(key=lambda span: span.start_time or 0)
    assert [(span.attributes or {})["app.attempt"] for span in chats] == [1, 2]
    assert [span.status.status_code for span in chats] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [event.name for event in again.events] == ["app.retry"]
    assert again.status.status_code is not StatusCode.ERROR


async def test_a_cancelled_run_is_marked_and_not_an_error(traced: Traced) -> None:
    async with traced.api.asked(ensemble="endless") as response:
        events = follow(response)
        run_id = (await anext(events)).run_id
        await traced.api.http.post(f"/api/runs/{run_id}/cancel")
        assert [event async for event in events][-1].data["code"] == "cancelled"
    root = await traced.ended(PROCESS)
    trace_id = root.context.trace_id if root.context else 0
    own = [each for each in traced.spans if each.context and each.context.trace_id == trace_id]
    assert_sound(own)
    assert traced.tree(root)[1][0][0] == "invoke_workflow endless"
    for name in ("invoke_workflow endless", "invoke_agent endless-1", "invoke_agent endless-2"):
        span = traced.span(name)
        assert (span.attributes or {})["app.cancelled"] is True
        assert span.status.status_code is StatusCode.UNSET


async def test_an_abandoned_run_continues_in_the_trace_of_its_request(traced: Traced) -> None:
    await traced.api.started(ensemble="endless")
    workflow = await traced.ended("invoke_workflow endless")
    root = traced.span(PROCESS)
    assert (root.attributes or {})["app.client_disconnected"] is True
    assert root.end_time
    assert workflow.end_time
    assert root.end_time < workflow.end_time
    assert_sound(traced.spans)
    assert (workflow.attributes or {})["app.cancelled"] is True


async def test_a_resumed_stream_is_a_separate_trace_linked_to_the_run(traced: Traced) -> None:
    run_id = (await traced.api.ask(ensemble="solo"))[0].run_id
    await traced.api.replayed(run_id)
    resumed = await traced.ended("GET /api/runs/<run_id>/events")
    workflow = traced.span("invoke_workflow solo")
    assert resumed.parent is None
    assert [link.context.span_id for link in resumed.links] == [
        workflow.context.span_id if workflow.context else 0
    ]


async def test_ten_concurrent_runs_do_not_mix_their_trees(traced: Traced) -> None:
    await asyncio.gather(*(traced.api.ask() for _ in range(10)))

    async def all_there() -> bool:
        return len(traced.spans) == 130

    await until(all_there)
    for root in [span for span in traced.spans if span.name == PROCESS]:
        assert traced.tree(root) == process("fanout", LLM_1, LLM_2, COMBINE)


async def test_an_unexpected_error_is_a_500_with_the_error_format_and_headers(
    traced: Traced, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a detail that nobody outside may see")

    monkeypatch.setattr(traced.services.runs, "get", broken)
    response = await traced.api.http.get("/api/runs/x", headers={"X-Request-ID": "mine"})
    assert response.status_code == 500
    assert response.json().keys() == {"error", "code", "request_id", "trace_id"}
    assert response.json()["code"] == "internal_error"
    assert response.json()["request_id"] == response.headers["x-request-id"] == "mine"
    assert response.headers["traceresponse"].split("-")[1] == response.headers["x-trace-id"]
    assert "detail" not in response.text
    assert "a detail that nobody outside may see" in caplog.text
    root = await traced.ended("GET /api/runs/<run_id>")
    assert root.status.status_code is StatusCode.ERROR


async def test_an_unexpected_error_in_a_run_fails_the_run(
    traced: Traced, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a detail that nobody outside may see")

    monkeypatch.setattr("service.strategies.writing.make_writer_messages", broken)
    response = await traced.api.http.post("/api/process", json=asking())
    events = events_of(response.content)
    assert_whole(events)
    assert events[-1].data["code"] == "internal_error"
    assert "detail" not in response.text
    assert "a detail that nobody outside may see" in caplog.text
    assert (await traced.ended("invoke_workflow fanout")).status.status_code is StatusCode.ERROR


async def test_a_connection_with_an_unfinished_head_is_closed_after_the_idle_time(
    traced: Traced,
) -> None:
    """Here, where that time can be made short."""
    raw = await exchange(traced.port, b"POST /api/process HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert raw == b""
