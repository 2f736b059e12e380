"""The middleware: ids and headers of every response, and one span until the last byte."""

import asyncio
import json
import logging
import re
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from telemetry import Telemetry, current_request
from tests._support.telemetry.asgi import Wire, answering, call
from tests._support.telemetry.capture import Capture, capturing, start

TRACERESPONSE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")


@pytest.mark.parametrize("given", ["a", "A-z_0.9", "x" * 128])
async def test_a_well_formed_request_id_is_echoed(quiet: Telemetry, given: str) -> None:
    wire = await call(quiet.middleware(answering()), x_request_id=given)
    assert wire.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\n", "é", "a/b"])
async def test_any_other_request_id_is_replaced(quiet: Telemetry, given: str) -> None:
    wire = await call(quiet.middleware(answering()), x_request_id=given)
    assert re.fullmatch("[0-9a-f]{32}", wire.headers["x-request-id"])


async def test_every_response_has_the_trace_headers(capture: Capture) -> None:
    wire = await call(capture.telemetry.middleware(answering()))
    match = TRACERESPONSE.fullmatch(wire.headers["traceresponse"])
    assert match is not None
    context = capture.span("GET /x").context
    assert context is not None
    assert int(match[1], 16) == context.trace_id
    assert int(match[2], 16) == context.span_id
    assert match[3] == "01"
    assert wire.headers["x-trace-id"] == match[1]


async def test_without_an_exporter_the_trace_is_real_but_not_sampled(quiet: Telemetry) -> None:
    app = quiet.middleware(answering())
    first, second = (await call(app)).headers, (await call(app)).headers
    match = TRACERESPONSE.fullmatch(first["traceresponse"])
    assert match is not None
    assert match[3] == "00"
    assert int(match[1], 16) > 0
    assert first["x-trace-id"] != second["x-trace-id"]


async def test_our_headers_replace_those_of_the_application(quiet: Telemetry) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Request-ID", b"other"), (b"x-kept", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    wire = await call(quiet.middleware(app), x_request_id="mine")
    names = [name.lower() for name, _ in wire.sent[0]["headers"]]
    assert names.count(b"x-request-id") == 1
    assert wire.headers["x-request-id"] == "mine"
    assert wire.headers["x-kept"] == "1"


async def test_the_span_has_method_route_status_and_bytes(capture: Capture) -> None:
    app = capture.telemetry.middleware(answering(201, b"abc", b"de", route="/runs/{id}"))
    await call(app, "/runs/7", "POST", x_request_id="req")
    span = capture.span("POST /runs/{id}")
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/runs/{id}",
        "http.response.status_code": 201,
        "http.response.body.size": 5,
        "url.path": "/runs/7",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "app.request_id": "req",
    }


async def test_a_request_is_one_span_for_any_number_of_chunks(capture: Capture) -> None:
    await call(capture.telemetry.middleware(answering(200, *[b"x"] * 1000)))
    assert len(capture.spans) == 1


async def test_the_span_ends_with_the_last_byte_not_with_the_application(capture: Capture) -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        seen.append(len(capture.spans))
        await send({"type": "http.response.body", "body": b"b"})
        seen.append(len(capture.spans))

    await call(capture.telemetry.middleware(app))
    assert seen == [0, 1]
    assert len(capture.spans) == 1


async def test_without_a_route_the_span_name_is_the_method(capture: Capture) -> None:
    await call(capture.telemetry.middleware(answering(404, route="")), "/nowhere")
    assert [span.name for span in capture.spans] == ["GET"]
    assert 'route="_OTHER",status_code="404"' in capture.page()


async def test_an_unknown_method_is_other(capture: Capture) -> None:
    await call(capture.telemetry.middleware(answering(405, route="")), method="BREW")
    span = capture.span("HTTP")
    assert (span.attributes or {})["http.request.method"] == "_OTHER"
    assert 'http_server_active_requests{method="_OTHER"} 0.0' in capture.page()


async def test_only_a_status_from_500_is_an_error(capture: Capture) -> None:
    await call(capture.telemetry.middleware(answering(503, route="/a")))
    await call(capture.telemetry.middleware(answering(404, route="/b")))
    bad, good = capture.span("GET /a"), capture.span("GET /b")
    assert bad.status.status_code is StatusCode.ERROR
    assert (bad.attributes or {})["error.type"] == "503"
    assert good.status.status_code is StatusCode.UNSET
    assert "error.type" not in (good.attributes or {})


async def test_a_failure_before_the_response_is_a_500_with_ids(
    capture: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("the secret reason")

    wire = await call(capture.telemetry.middleware(app), x_request_id="req")
    body = json.loads(wire.sent[1]["body"])
    assert wire.status == 500
    assert body["request_id"] == wire.headers["x-request-id"] == "req"
    assert body["trace_id"] == wire.headers["x-trace-id"]
    assert "reason" not in str(wire.sent)
    assert (capture.span("GET").attributes or {})["error.type"] == "LookupError"
    assert "the secret reason" in caplog.text


async def test_a_failure_during_the_response_has_the_exception_as_error_type(
    capture: Capture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise LookupError

    with pytest.raises(LookupError):
        await call(capture.telemetry.middleware(app))
    span = capture.span("GET")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["http.response.status_code"] == 200
    assert 'error_type="LookupError"' in capture.page()


async def test_a_client_disconnect_is_recorded_and_is_not_an_error(capture: Capture) -> None:
    wire = Wire()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        wire.inbox.put_nowait({"type": "http.disconnect"})
        await receive()

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    await capture.telemetry.middleware(app)(scope, wire.inbox.get, wire.send)
    span = capture.span("GET")
    assert (span.attributes or {})["app.client_disconnected"] is True
    assert span.status.status_code is StatusCode.UNSET


async def test_a_disconnect_after_the_last_byte_is_not_counted(capture: Capture) -> None:
    wire = Wire()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering()(scope, receive, send)
        await receive()

    wire.inbox.put_nowait({"type": "http.disconnect"})
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    await capture.telemetry.middleware(app)(scope, wire.inbox.get, wire.send)
    assert "app.client_disconnected" not in (capture.span("GET /x").attributes or {})


async def test_a_cancelled_request_is_not_an_error(capture: Capture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(call(capture.telemetry.middleware(app)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span = capture.span("GET")
    assert (span.attributes or {})["app.cancelled"] is True
    assert span.status.status_code is StatusCode.UNSET


async def test_a_run_is_a_child_of_its_request_and_may_end_later(capture: Capture) -> None:
    runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(
            capture.telemetry.start_workflow(
                "fanout",
                run_id="run_9",
                conversation_id="conv_9",
                config_hash="h",
                agents=[],
                parent=current_request(),
            )
        )
        await answering()(scope, receive, send)

    wire = await call(capture.telemetry.middleware(app))
    runs[0].finish("completed")
    assert runs[0].trace_id == wire.headers["x-trace-id"]
    assert capture.parent_name(capture.span("invoke_workflow fanout")) == "GET /x"
    assert (capture.span("GET /x").attributes or {})["run.id"] == "run_9"


async def test_a_request_that_reconnects_links_to_the_run(capture: Capture) -> None:
    run = start(capture.telemetry)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        capture.telemetry.record_resume(run.trace_id, run.span_id)
        await answering()(scope, receive, send)

    await call(capture.telemetry.middleware(app))
    (link,) = capture.span("GET /x").links
    assert link.context.trace_id == run.span_context.trace_id
    assert link.context.span_id == run.span_context.span_id
    assert "fanout_resumes_total 1.0" in capture.page()


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_inbound_trace_is_accepted_only_if_configured(trusted: bool) -> None:
    captured = capturing(trust_traceparent=trusted)
    theirs = "0af7651916cd43dd8448eb211c80319c"
    app = captured.telemetry.middleware(answering())
    wire = await call(app, traceparent=f"00-{theirs}-b7ad6b7169203331-01")
    assert (wire.headers["x-trace-id"] == theirs) is trusted


async def test_a_malformed_traceparent_starts_a_new_trace() -> None:
    captured = capturing(trust_traceparent=True)
    wire = await call(captured.telemetry.middleware(answering()), traceparent="00-0-0-00")
    assert TRACERESPONSE.fullmatch(wire.headers["traceresponse"])


async def test_a_request_writes_one_access_line_without_its_query(
    capture: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "access"):
        await call(capture.telemetry.middleware(answering(200, b"abc")), "/api")
        await call(capture.telemetry.middleware(answering()), "/health/live")
        await call(capture.telemetry.middleware(answering()), "/metrics")
    (line,) = [record for record in caplog.records if record.name == "access"]
    facts = vars(line)
    assert line.getMessage() == "GET /api 200"
    assert (facts["status"], facts["bytes"], facts["path"]) == (200, 3, "/api")
    assert facts["duration_ms"] >= 0


async def test_probes_have_ids_but_are_not_traced(capture: Capture) -> None:
    for path in ("/health/ready", "/health", "/metrics"):
        wire = await call(capture.telemetry.middleware(answering()), path)
        assert TRACERESPONSE.fullmatch(wire.headers["traceresponse"])
    assert capture.spans == []
    assert "http_server_request_duration_seconds_count" in capture.page()


async def test_lifespan_passes_untouched(quiet: Telemetry) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((receive, send))

    wire = Wire()
    receive, send = wire.inbox.get, wire.send
    await quiet.middleware(app)({"type": "lifespan"}, receive, send)
    assert seen == [receive, send]


@pytest.mark.parametrize(("code", "left"), [(1000, False), (1006, True)])
async def test_a_websocket_is_one_span_over_its_connection(
    capture: Capture, code: int, left: bool
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = current_request()
        assert request is not None
        request.route = "/chat"
        await send({"type": "websocket.accept", "headers": []})
        await send({"type": "websocket.send", "text": "hello"})
        await receive()

    wire = Wire()
    wire.inbox.put_nowait({"type": "websocket.disconnect", "code": code})
    scope = {"type": "websocket", "path": "/chat", "headers": [(b"x-request-id", b"ws-1")]}
    await capture.telemetry.middleware(app)(scope, wire.inbox.get, wire.send)
    attributes = capture.span("GET /chat").attributes or {}
    assert wire.headers["x-request-id"] == "ws-1"
    assert attributes["http.response.status_code"] == 101
    assert attributes["http.response.body.size"] == 5
    assert attributes.get("app.client_disconnected", False) is left
    assert 'route="/chat"' not in capture.page()
