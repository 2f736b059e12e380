"""The spans that a service exports for each kind of run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from service.version import VERSION
from tests._support.clients.api import Api, asking, assert_whole, client_of, events_of, follow
from tests._support.otlp import Protocol, Sink, Span, Trace, assert_sound
from tests._support.otlp.traces import failed
from tests._support.servers.processes import Process, run_server
from tests._support.servers.service_log import assert_no_traceback
from tests._support.servers.services import Told
from tests._support.telemetry.span_trees import (
    COMBINE,
    LLM_1,
    LLM_2,
    PROCESS,
    QUICK,
    agent,
    call,
    process,
)


@dataclass(frozen=True)
class Exporting:
    """A service, a client of it, and the collector it sends to."""

    process: Process
    sink: Sink
    api: Api

    async def asked(self, message: str = "Why is the sky blue?", **fields: Any) -> Trace:
        """Ask, read the answer to its end, and return the trace that came of it."""
        response = await self.api.http.post("/api/process", json=asking(message, **fields))
        assert_whole(events_of(response.content))
        trace = await self.sink.traced(response.headers["x-trace-id"])
        assert_sound(trace)
        return trace


@pytest.fixture(scope="module", params=["http/protobuf", "grpc"])
def exporter(
    request: pytest.FixtureRequest, told: Told, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, Sink]]:
    """A service that exports by one protocol, for all tests here."""
    protocol: Protocol = request.param
    folder = tmp_path_factory.mktemp("exporting")
    with Sink() as sink:
        settings = told(folder) | sink.variables(protocol)
        with run_server(folder, "serve", "--port", "0", **settings) as process:
            yield process, sink
        assert_no_traceback(process)


@pytest.fixture
async def exporting(exporter: tuple[Process, Sink]) -> AsyncIterator[Exporting]:
    process, sink = exporter
    async with client_of(process.url) as api:
        yield Exporting(process, sink, api)


async def test_a_successful_run_is_exported_as_one_tree(exporting: Exporting) -> None:
    trace = await exporting.asked()
    assert trace.tree == process("fanout", LLM_1, LLM_2, COMBINE)
    assert failed(trace) == set()
    kinds = {span.name.split()[0]: span.kind for span in trace.spans if span is not trace.root}
    assert trace.root.kind == "SERVER"
    assert kinds == {
        "invoke_workflow": "INTERNAL",
        "invoke_agent": "INTERNAL",
        "chat": "CLIENT",
        "POST": "CLIENT",
        "open_run": "CLIENT",
        "end_run": "CLIENT",
    }


async def test_the_agents_overlap_and_the_combiner_follows(exporting: Exporting) -> None:
    trace = await exporting.asked()
    one, two, combiner, end = trace.below(trace.span("invoke_workflow fanout"))
    assert two.start_ns < one.end_ns
    assert combiner.name == "invoke_agent llm-combine"
    assert combiner.start_ns >= max(one.end_ns, two.end_ns)
    assert end.name == "end_run"


async def test_the_question_is_committed_before_the_first_model_call(exporting: Exporting) -> None:
    trace = await exporting.asked()
    assert trace.span("open_run").end_ns <= trace.span("invoke_workflow fanout").start_ns
    for name in ("open_run", "end_run"):
        assert trace.span(name).attributes == {
            "db.system.name": "sqlite",
            "db.operation.name": name,
        }


async def test_spans_have_the_models_usage_and_results(
    exporting: Exporting,
) -> None:
    trace = await exporting.asked()
    root = trace.root.attributes
    assert root["http.request.method"] == "POST"
    assert root["http.route"] == root["url.path"] == "/api/process"
    assert root["http.response.status_code"] == 200
    workflow = trace.span("invoke_workflow fanout").attributes
    assert workflow["run.id"] == root["run.id"]
    assert workflow["app.outcome"] == "completed"
    assert workflow["app.agents"] == ["llm-1", "llm-2"]
    assert workflow["gen_ai.usage.output_tokens"] == 70
    chat = trace.span(f"chat {QUICK}&seed=1").attributes
    assert chat["gen_ai.response.finish_reasons"] == ["stop"]
    assert chat["gen_ai.usage.output_tokens"] == 20
    assert chat["app.attempt"] == 1
    wire = trace.below(trace.span(f"chat {QUICK}&seed=1"))[0].attributes
    assert wire["http.request.method"] == "POST"
    assert wire["http.response.status_code"] == 200
    assert wire["server.port"] == chat["server.port"]


async def test_the_response_names_the_trace_and_the_span(exporting: Exporting) -> None:
    response = await exporting.api.http.post("/api/process", json=asking())
    trace = await exporting.sink.traced(response.headers["x-trace-id"])
    root = trace.root
    assert response.headers["traceresponse"] == f"00-{root.trace_id}-{root.span_id}-01"
    assert root.attributes["run.id"] == response.headers["x-run-id"]
    assert root.attributes["app.request_id"] == response.headers["x-request-id"]
    assert root.attributes["http.response.body.size"] == len(response.content)
    first = events_of(response.content)[0]
    assert first.data["trace_id"] == root.trace_id


async def test_the_resource_identifies_the_service_and_the_process(
    exporting: Exporting,
) -> None:
    resource = (await exporting.asked(ensemble="solo")).root.resource
    assert resource["service.name"] == "llm-sse-service"
    assert resource["service.version"] == VERSION
    assert resource["service.instance.id"]
    assert resource["process.pid"] == exporting.process.pid
    assert resource["telemetry.sdk.language"] == "python"


async def test_a_failed_agent_is_an_error_and_its_run_is_not(exporting: Exporting) -> None:
    trace = await exporting.asked(ensemble="one-cut")
    bad = agent("bad-cut", call(f"{QUICK}&fault=cut"))
    assert trace.tree == process("one-cut", bad, LLM_1, COMBINE)
    assert failed(trace) == {"invoke_agent bad-cut", f"chat {QUICK}&fault=cut"}
    for name in failed(trace):
        assert trace.span(name).attributes["error.type"] == "upstream_incomplete"


async def test_a_failed_run_is_an_error_and_its_request_is_not(exporting: Exporting) -> None:
    trace = await exporting.asked(ensemble="both-bad")
    workflow = trace.span("invoke_workflow both-bad")
    assert workflow.status == "ERROR"
    assert workflow.attributes["error.type"] == "too_few_answers"
    assert workflow.attributes["app.outcome"] == "failed"
    assert trace.root.status == "UNSET"


async def test_a_refused_connection_is_an_error_in_every_span_above_it(
    exporting: Exporting,
) -> None:
    trace = await exporting.asked(ensemble="one-refuse")
    chat = trace.span("chat mock?fault=refuse")
    assert chat.status == "ERROR"
    assert [span.status for span in trace.below(chat)] == ["ERROR"]


async def test_a_retried_call_is_two_chat_spans_and_an_event_with_the_reason(
    exporting: Exporting,
) -> None:
    trace = await exporting.asked(f"Is {uuid4()} traced?", ensemble="again")
    again = trace.span("invoke_agent again")
    first, second = trace.below(again)
    assert [span.attributes["app.attempt"] for span in (first, second)] == [1, 2]
    assert [span.status for span in (first, second, again)] == ["ERROR", "UNSET", "UNSET"]
    assert first.attributes["error.type"] == "upstream_busy"
    retry = again.event("app.retry")
    assert retry.attributes["app.reason"] == "upstream_busy"
    assert first.end_ns <= retry.time_ns <= second.start_ns
    assert (second.start_ns - first.end_ns) / 1e9 >= 0.05


@pytest.mark.parametrize(
    ("ensemble", "straggler"), [("straggling", "endless-1"), ("mute-straggler", "hung-1")]
)
async def test_a_cut_straggler_is_an_event_of_its_run(
    exporting: Exporting, ensemble: str, straggler: str
) -> None:
    trace = await exporting.asked(ensemble=ensemble)
    workflow = trace.span(f"invoke_workflow {ensemble}")
    cut = workflow.event("app.straggler_cut")
    assert cut.attributes["app.agent"] == straggler
    assert cut.attributes["app.reason"] == "straggler"
    skipped = trace.span(f"invoke_agent {straggler}")
    assert skipped.attributes["app.outcome"] == "skipped"
    for span in (skipped, *trace.below(skipped)):
        assert span.attributes["app.cancelled"] is True
    assert failed(trace) == set()
    assert workflow.attributes["app.outcome"] == "completed"


async def test_a_cancelled_run_is_marked_and_not_an_error(exporting: Exporting) -> None:
    async with exporting.api.asked(ensemble="endless") as response:
        run_id = (await anext(follow(response))).run_id
        cancel = await exporting.api.http.post(f"/api/runs/{run_id}/cancel")
        await response.aclose()
    trace = await exporting.sink.traced(
        response.headers["x-trace-id"], PROCESS, "invoke_workflow endless"
    )
    assert_sound(trace)
    assert failed(trace) == set()
    for name in ("workflow endless", "agent endless-1", "agent endless-2"):
        assert trace.span(f"invoke_{name}").attributes["app.cancelled"] is True
    assert trace.span("invoke_workflow endless").attributes["app.outcome"] == "cancelled"
    chats = [span for span in trace.spans if span.name.startswith("chat ")]
    assert [chat.attributes.get("app.cancelled") for chat in chats] == [True, True]
    asked = await exporting.sink.traced(
        cancel.headers["x-trace-id"], "POST /api/runs/<run_id>/cancel"
    )
    assert_sound(asked)


async def test_a_run_continues_in_its_trace_after_the_client_disconnected(
    exporting: Exporting,
) -> None:
    async with exporting.api.asked(ensemble="brief") as response:
        await anext(follow(response))
    trace = await exporting.sink.traced(
        response.headers["x-trace-id"], PROCESS, "invoke_workflow brief"
    )
    assert_sound(trace)
    workflow = trace.span("invoke_workflow brief")
    assert trace.root.attributes["app.client_disconnected"] is True
    assert trace.root.end_ns < workflow.end_ns
    assert workflow.attributes["app.outcome"] == "completed"
    assert failed(trace) == set()


async def test_a_resumed_stream_is_a_separate_trace_with_a_link_to_the_run(
    exporting: Exporting,
) -> None:
    async with exporting.api.asked(ensemble="brief") as response:
        run_id = (await anext(follow(response))).run_id
    async with client_of(exporting.process.url) as other:
        resumed = await other.http.get(f"/api/runs/{run_id}/events")
        assert_whole(events_of(resumed.content))
    name = "GET /api/runs/<run_id>/events"
    second = await exporting.sink.traced(resumed.headers["x-trace-id"], name)
    assert_sound(second)
    assert [span.name for span in second.spans] == [name]
    assert second.root.kind == "SERVER"
    first = await exporting.sink.traced(
        response.headers["x-trace-id"], PROCESS, "invoke_workflow brief"
    )
    workflow = first.span("invoke_workflow brief")
    (link,) = second.root.links
    assert (link.trace_id, link.span_id) == (workflow.trace_id, workflow.span_id)


async def test_concurrent_runs_do_not_mix_their_spans(exporting: Exporting) -> None:
    responses = await asyncio.gather(
        *(exporting.api.http.post("/api/process", json=asking(f"Is it {n}?")) for n in range(5))
    )
    spans: list[Span] = []
    for response in responses:
        trace = await exporting.sink.traced(response.headers["x-trace-id"])
        assert_sound(trace)
        assert trace.tree == process("fanout", LLM_1, LLM_2, COMBINE)
        spans += trace.spans
    assert len({span.span_id for span in spans}) == 5 * 13
