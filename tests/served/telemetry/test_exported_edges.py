"""Trace context in requests and to models, and secrets that no span may contain."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests._support.clients.api import (
    Api,
    Event,
    answer_of,
    asking,
    assert_whole,
    client_of,
    events_of,
    of_type,
)
from tests._support.llm import ensembles
from tests._support.otlp import Sink, Span, assert_sound
from tests._support.servers.processes import Process, wait_for_exit
from tests._support.servers.service_log import assert_no_traceback
from tests._support.servers.services import KEY, Start
from tests._support.telemetry.span_trees import PROCESS

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "vendor=1"}
UNSAMPLED = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"}


class _Server(ThreadingHTTPServer):
    seen: list[dict[str, str]]


class _Model(BaseHTTPRequestHandler):
    """Says one word; `parrot` refuses with the question and the key in its excuse."""

    server: _Server

    def do_POST(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["model"] == "parrot":
            words = [message["content"] for message in asked["messages"]]
            excuse = f"Not {words} with {self.headers['Authorization']}!"
            self._say(400, "application/json", json.dumps({"error": {"message": excuse}}))
        else:
            choice = {"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}
            chunk = json.dumps({"choices": [choice]})
            self._say(200, "text/event-stream", f"data: {chunk}\n\ndata: [DONE]\n\n")

    def _say(self, status: int, kind: str, said: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(said.encode())))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing."""


@contextlib.contextmanager
def model() -> Iterator[_Server]:
    """A model's server that remembers the headers it saw."""
    server = _Server(("127.0.0.1", 0), _Model)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def upstreams(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Two models' servers, and an ensembles file with an agent and an ensemble for each.

    `known` may have the trace, `stranger` may not.
    """
    with model() as known, model() as stranger:
        tables = [ensembles.toml()]
        for agent, server, name in (
            ("known", known, "any"),
            ("stranger", stranger, "any"),
            ("parrot", stranger, "parrot"),
        ):
            url = f"http://127.0.0.1:{server.server_port}/v1"
            tables.append(f'[agents.{agent}]\nmodel = "{name}"\nbase_url = "{url}"\nretries = 0\n')
            tables.append(f'[ensembles.{agent}]\nstrategy = "solo"\nagents = ["{agent}"]\n')
        path = tmp_path / "upstreams.toml"
        path.write_text("\n".join(tables))
        yield {"known": known, "stranger": stranger, "file": str(path)}


async def ask(api: Api, ensemble: str, **headers: str) -> tuple[httpx.Response, list[Event]]:
    body = asking(ensemble=ensemble)
    response = await api.http.post("/api/process", json=body, headers=headers)
    events = events_of(response.content)
    assert_whole(events)
    return response, events


async def ended_well(service: Process) -> None:
    """End the service, which sends what it still has."""
    service.popen.terminate()
    assert await wait_for_exit(service) == 0
    assert_no_traceback(service)


async def test_a_trusted_trace_context_is_continued_and_sent_to_allowed_hosts(
    start: Start, sink: Sink, upstreams: dict[str, Any]
) -> None:
    known, stranger = upstreams["known"], upstreams["stranger"]
    service = start(
        **sink.variables(),
        ENSEMBLES_FILE=upstreams["file"],
        TRUST_TRACEPARENT="true",
        TRACEPARENT_HOSTS=f"127.0.0.1:{known.server_port}",
    )
    async with client_of(service.url) as api:
        response, _ = await ask(api, "known", **SAMPLED)
        assert response.headers["x-trace-id"] == TRACE_ID
        await sink.traced(TRACE_ID)
        trace = sink.trace(TRACE_ID)
        assert_sound(trace, remote_parent=SPAN_ID)
        assert response.headers["traceresponse"] == f"00-{TRACE_ID}-{trace.root.span_id}-01"
        (headers,) = known.seen
        assert headers["traceparent"] == f"00-{TRACE_ID}-{trace.span('POST').span_id}-01"
        assert headers["tracestate"] == "vendor=1"

        response, _ = await ask(api, "stranger", **SAMPLED)
        (headers,) = stranger.seen
        assert not {"traceparent", "tracestate", "baggage"} & set(headers)

        response, _ = await ask(api, "solo", traceparent="00-nonsense-01")
        assert response.headers["x-trace-id"] != TRACE_ID
        assert_sound(await sink.traced(response.headers["x-trace-id"]))

        before = len(sink.trace(TRACE_ID).spans)
        response, _ = await ask(api, "solo", **UNSAMPLED)
        assert response.headers["x-trace-id"] == TRACE_ID
        assert response.headers["traceresponse"].endswith("-00")
    await ended_well(service)
    # That of `stranger`, and of the unsampled one nothing.
    assert len(sink.trace(TRACE_ID).spans) == before


async def test_a_callers_trace_context_is_ignored_by_default(
    start: Start, sink: Sink, upstreams: dict[str, Any]
) -> None:
    service = start(**sink.variables(), ENSEMBLES_FILE=upstreams["file"])
    async with client_of(service.url) as api:
        for headers in (SAMPLED, UNSAMPLED):
            response, _ = await ask(api, "known", **headers)
            trace_id = response.headers["x-trace-id"]
            assert trace_id != TRACE_ID
            assert_sound(await sink.traced(trace_id))
    await ended_well(service)
    assert sink.trace(TRACE_ID).spans == ()
    for seen in upstreams["known"].seen:
        assert not {"traceparent", "tracestate", "baggage"} & set(seen)


async def test_spans_contain_neither_secrets_nor_content(
    start: Start, sink: Sink, upstreams: dict[str, Any]
) -> None:
    """In spans and log records, to the last byte; also when a model's server quotes them."""
    service = start(
        **sink.variables(OTEL_LOGS_EXPORTER="otlp"),
        ENSEMBLES_FILE=upstreams["file"],
        LOG_LEVEL="debug",
    )
    question = "A question that is nobody else's business"
    headers = {
        "Authorization": "Bearer token-of-a-caller",
        "Cookie": "session=cookie-of-a-caller",
        "Idempotency-Key": "key-of-a-caller",
    }
    words = {KEY, question, "Be inventive.", "Be factual.", "secret-in-a-url"}
    words |= {"token-of-a-caller", "cookie-of-a-caller", "key-of-a-caller"}
    async with client_of(service.url) as api:
        for ensemble in ("fanout", "one-status", "both-bad", "straggling", "parrot"):
            body = asking(question, ensemble=ensemble, stream_agents=True)
            response = await api.http.post(
                "/api/process?token=secret-in-a-url", json=body, headers=headers
            )
            headers.pop("Idempotency-Key", None)
            events = events_of(response.content)
            said = "".join(data["message"] for data in of_type(events, "agent.delta"))
            words |= set(pieces(answer_of(events) + said))
        await sink.traced(response.headers["x-trace-id"])
    await ended_well(service)
    assert len(words) > 20
    assert len(sink.logs()) > 10
    assert b"invoke_workflow parrot" in sink.raw
    assert {word for word in words if word.encode() in sink.raw} == set()


def pieces(text: str) -> Iterator[str]:
    """Yield what of a text would give it away, wherever it was cut."""
    for start in range(0, len(text) - 30, 15):
        yield text[start : start + 30]


CONTENT = ("gen_ai.input.messages", "gen_ai.output.messages")


def has_content(span: Span) -> bool:
    return any(name in span.attributes for name in CONTENT)


def text_of(parts: list[dict[str, str]]) -> str:
    assert {part["type"] for part in parts} == {"text"}
    return "".join(part["content"] for part in parts)


async def test_chat_spans_contain_content_after_the_opt_in(
    start: Start, sink: Sink, upstreams: dict[str, Any]
) -> None:
    service = start(
        **sink.variables(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="SPAN_ONLY"),
        ENSEMBLES_FILE=upstreams["file"],
    )
    async with client_of(service.url) as api:
        response, events = await ask(api, "fanout")
        trace = await sink.traced(response.headers["x-trace-id"])
        assert_sound(trace)
        await ask(api, "parrot")
    await ended_well(service)

    (chat,) = trace.below(trace.span("invoke_agent llm-1"))
    content = {name: json.loads(chat.attributes[name]) for name in CONTENT}
    told, asked = content["gen_ai.input.messages"]
    assert told["role"] == "system"
    assert text_of(told["parts"]) == "Be inventive."
    assert asked["role"] == "user"
    assert text_of(asked["parts"]) == "Why is the sky blue?"
    (said,) = content["gen_ai.output.messages"]
    assert said["role"] == "assistant"
    assert said["finish_reason"] == "stop"
    assert text_of(said["parts"])

    (chat,) = trace.below(trace.span("invoke_agent llm-combine"))
    (combined,) = json.loads(chat.attributes["gen_ai.output.messages"])
    assert text_of(combined["parts"]) == answer_of(events)
    assert {span.name.split()[0] for span in sink.spans() if has_content(span)} == {"chat"}
    assert KEY.encode() not in sink.raw


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_LOGS_EXPORTER": "otlp"},
        {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
async def test_a_disabled_export_sends_nothing_and_responses_still_have_their_ids(
    start: Start, sink: Sink, variables: dict[str, str]
) -> None:
    service = start(**sink.variables(**variables))
    async with client_of(service.url) as api:
        answers = [await ask(api, "fanout") for _ in range(2)]
    await ended_well(service)
    assert sink.requests == 0
    ids = [response.headers["x-trace-id"] for response, _ in answers]
    assert len(set(ids) - {"0" * 32}) == 2
    for trace_id, (response, events) in zip(ids, answers, strict=True):
        version, again, span_id, flags = response.headers["traceresponse"].split("-")
        assert (version, again, flags) == ("00", trace_id, "00")
        assert int(span_id, 16)
        assert events[0].data["trace_id"] == trace_id


async def test_each_signal_is_sent_to_its_own_endpoint(start: Start, sink: Sink) -> None:
    """Spans by gRPC, log records by HTTP, both compressed; and both tell of the same run."""
    grpc = sink.variables("grpc")["OTEL_EXPORTER_OTLP_ENDPOINT"]
    service = start(
        **sink.variables(
            "http/protobuf",
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="grpc",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=grpc,
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_LOGS_EXPORTER="otlp",
            OTEL_SERVICE_NAME="renamed",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
        )
    )
    async with client_of(service.url) as api:
        response, events = await ask(api, "fanout")
    await ended_well(service)
    trace = sink.trace(response.headers["x-trace-id"])
    assert_sound(trace)
    assert trace.root.name == PROCESS
    assert len(trace.spans) == 13
    records = [record for record in sink.logs() if record.trace_id == trace.root.trace_id]
    assert {record.span_id for record in records} == {trace.root.span_id}
    (told,) = [record for record in records if record.body == "run completed"]
    assert told.severity.upper().startswith("INFO")
    assert told.attributes["run_id"] == events[0].run_id
    assert told.attributes["outcome"] == "completed"
    assert any(str(record.body).startswith("POST /api/process 200") for record in records)
    resource = trace.root.resource
    assert all(span.resource == resource for span in trace.spans)
    assert all(record.resource == resource for record in records)
    assert resource["service.name"] == "renamed"
    assert resource["deployment.environment.name"] == "test"
