"""The conventions as rules, checked on every span and metric of a varied sample.

Sources: https://opentelemetry.io/docs/specs/semconv/http/http-spans/ (stable),
https://opentelemetry.io/docs/specs/semconv/db/database-spans/ (stable),
https://github.com/open-telemetry/semantic-conventions-genai (development),
https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import (
    db_attributes,
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families as families_of

from telemetry import RequestInfo, Telemetry, current_request, semconv
from telemetry.http.middleware import ASGIApp
from telemetry.instrument import Instrument
from tests._support.telemetry.asgi import Wire, answering, call
from tests._support.telemetry.capture import Capture, capturing
from tests._support.telemetry.sample_runs import fan_out

# --- the sample ---


def upstream(request: httpx.Request) -> httpx.Response:
    """Answer with the status in the path; `/refuse` refuses the connection."""
    if request.url.path == "/refuse":
        raise httpx.ConnectError("refused", request=request)
    return httpx.Response(int(request.url.path[1:]))


async def a_run(telemetry: Telemetry, parent: RequestInfo | None, outcome: str) -> None:
    """Run agents with every outcome, each with an HTTP call."""
    workflow = telemetry.start_workflow(
        "fanout",
        run_id="run_1",
        conversation_id="conv_1",
        config_hash="abc",
        agents=["llm-1", "llm-2"],
        parent=parent,
    )
    ends = ("answered", "failed", "cancelled", "skipped")
    traced = telemetry.trace_requests(httpx.MockTransport(upstream))
    async with httpx.AsyncClient(transport=traced) as http:
        for end, path in zip(ends, ("200", "500", "429", "refuse"), strict=True):
            agent = workflow.start_agent("llm-1", "gpt-4o-mini")
            chat = agent.start_chat(
                model="gpt-4o-mini",
                provider="openai",
                server_address="api.example.com",
                server_port=443,
                stream=True,
                attempt=1,
            )
            with chat.activate():
                try:
                    await http.post(f"https://user:hidden@api.example.com/{path}")
                except httpx.ConnectError:
                    chat.finish(error_type="upstream_unreachable")
            chat.record_first_chunk()
            chat.finish(
                error_type="upstream_error" if end == "failed" else None,
                cancelled=end in {"cancelled", "skipped"},
                finish_reason="stop",
                response_id="",
            )
            agent.record_retry("upstream_busy", 0.5)
            agent.record_context_trim(4)
            agent.record_hedge(0.5)
            agent.record_hedge_refused(0.5)
            agent.record_hedge_outcome("won")
            agent.record_continuation("upstream_incomplete", 20)
            agent.record_refused_call("openai", "circuit_open")
            agent.record_limit_wait("rpm", 0.25)
            agent.finish(end, error_type="made-up" if end == "failed" else None, cost_usd=0.1)
    for error in (None, "locked"):
        telemetry.start_store_operation("end_run", system="sqlite", parent=workflow).finish(error)
    workflow.record_first_output()
    workflow.record_step_down("llm-2", "timeout")
    workflow.record_straggler_cut("llm-1", "straggler", "silence")
    workflow.start_step("gate")
    workflow.record_gate("single", 0.9)
    workflow.record_budget_refusal("llm-1")
    workflow.finish(
        outcome,
        error_type="too_few_answers" if outcome == "failed" else None,
        degraded_by=("agents", "combiner") if outcome == "completed" else (),
        missing=("llm-1",) if outcome == "completed" else (),
    )


def running(telemetry: Telemetry, outcome: str) -> ASGIApp:
    """Return a route that starts a run."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        telemetry.start_store_operation("open_run", system="postgresql").finish()
        await a_run(telemetry, current_request(), outcome)
        await answering(200, b"x", route="/api/process")(scope, receive, send)

    return app


async def leaving(scope: Any, receive: Any, send: Any) -> None:
    """Return a route with a client that leaves before the response."""
    await receive()


async def broken(scope: Any, receive: Any, send: Any) -> None:
    raise LookupError


async def a_varied_day(telemetry: Telemetry) -> None:
    await fan_out(telemetry)
    for outcome in ("completed", "failed", "cancelled"):
        await call(telemetry.middleware(running(telemetry, outcome)), "/api/process", "POST")
    for status in (200, 404, 503):
        await call(telemetry.middleware(answering(status, route="/runs/<run_id>")), "/runs/1")
    await call(telemetry.middleware(answering(404, route="")), "/made-up")
    await call(telemetry.middleware(answering(405, route="")), "/made-up", "BREW")
    await call(telemetry.middleware(broken))
    wire = Wire()
    wire.inbox.put_nowait({"type": "http.disconnect"})
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    await telemetry.middleware(leaving)(scope, wire.inbox.get, wire.send)
    telemetry.record_stream_opened()
    telemetry.record_stream_closed(disconnected=True)
    telemetry.record_resume("", "")
    telemetry.start_store_operation("commit", system="sqlite").finish("full")
    telemetry.record_store_rejection("full")
    telemetry.record_limit("requests", "default", is_refused=True)
    telemetry.record_limit_fallback()
    telemetry.record_recovery("interrupted")
    telemetry.endpoints.record_circuit("openai", "gpt-4o-mini", "closed", "open")
    telemetry.endpoints.record_refusal("openai", "gpt-4o-mini", "circuit_open")
    telemetry.endpoints.record_wait("openai", "rpm", 0.25)
    telemetry.journal.record_failure("full")
    telemetry.journal.record_commit(0.25)


@pytest.fixture(scope="module")
def day() -> Capture:
    captured = capturing()
    with asyncio.Runner() as runner:
        runner.run(a_varied_day(captured.telemetry))
    return captured


@pytest.fixture
def spans(day: Capture) -> list[ReadableSpan]:
    assert len(day.spans) > 50
    return day.spans


# --- spans ---

Rule = Callable[[ReadableSpan], bool]


def breaking(spans: Iterable[ReadableSpan], rule: Rule) -> list[str]:
    """Return the spans that violate a rule."""
    return [f"{span.name} {dict(span.attributes or {})}" for span in spans if not rule(span)]


def of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def is_error(span: ReadableSpan) -> bool:
    return span.status.status_code is StatusCode.ERROR


def operation(span: ReadableSpan) -> str:
    """Return the rule set of a span: its operation, `store`, `server` or `client`."""
    if found := of(span).get("gen_ai.operation.name"):
        return str(found)
    if "db.system.name" in of(span):
        return "store"
    return "step" if "app.step" in of(span) else span.kind.name.lower()


KINDS = {
    "invoke_workflow": SpanKind.INTERNAL,
    "invoke_agent": SpanKind.INTERNAL,
    "step": SpanKind.INTERNAL,
    "chat": SpanKind.CLIENT,
    "store": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
}
# "Required", and "conditionally required" where the condition always holds here.
REQUIRED = {
    "invoke_workflow": {"gen_ai.workflow.name", "gen_ai.conversation.id"},
    "invoke_agent": {"gen_ai.agent.name", "gen_ai.provider.name", "gen_ai.request.model"},
    "chat": {
        *("gen_ai.provider.name", "gen_ai.request.model", "gen_ai.request.stream"),
        *("server.address", "server.port"),
    },
    "step": {"app.step"},
    "store": {"db.system.name", "db.operation.name"},
    "server": {"http.request.method", "url.path", "url.scheme"},
    # The instrumentation omits a `server.port` equal to the scheme's default; the chat span has it.
    "client": {"http.request.method", "server.address", "url.full"},
}


def test_there_are_spans_of_every_operation_and_every_end(spans: list[ReadableSpan]) -> None:
    assert {operation(span) for span in spans} == set(KINDS)
    assert {of(span).get("app.outcome") for span in spans} - {None} == {
        *("completed", "failed", "cancelled"),
        *("answered", "skipped"),
    }


def expected_names(span: ReadableSpan) -> set[str]:
    attributes, kind = of(span), operation(span)
    subject = {
        "invoke_workflow": "gen_ai.workflow.name",
        "step": "app.step",
        "invoke_agent": "gen_ai.agent.name",
        "chat": "gen_ai.request.model",
    }
    if kind in subject:
        return {f"{kind} {attributes[subject[kind]]}"}
    if kind == "store":
        return {attributes["db.operation.name"]}
    method = attributes["http.request.method"].replace("_OTHER", "HTTP")
    route = attributes.get("http.route")
    return {f"{method} {route}" if route else method}


def test_a_span_name_is_the_operation_and_its_target(spans: list[ReadableSpan]) -> None:
    assert breaking(spans, lambda span: span.name in expected_names(span)) == []


def test_the_span_kind_follows_from_the_operation(spans: list[ReadableSpan]) -> None:
    assert breaking(spans, lambda span: span.kind is KINDS[operation(span)]) == []


def test_required_attributes_are_present(spans: list[ReadableSpan]) -> None:
    assert breaking(spans, lambda span: REQUIRED[operation(span)] <= of(span).keys()) == []


def constants(module: Any) -> set[str]:
    """Return the dotted names that a module defines."""
    values = (value for name, value in vars(module).items() if name.isupper())
    return {value for value in values if isinstance(value, str) and "." in value}


OURS = constants(semconv)
STABLE = {
    name
    for module in (
        *(db_attributes, error_attributes, http_attributes, network_attributes),
        *(server_attributes, url_attributes),
    )
    for name in constants(module)
}


def test_every_attribute_name_is_in_semconv(spans: list[ReadableSpan]) -> None:
    assert {name for span in spans for name in of(span)} <= OURS | STABLE


def test_names_without_our_prefix_are_in_the_conventions() -> None:
    """`http.response.body.size` is in development and not in the installed package."""
    theirs = STABLE | constants(gen_ai_attributes)
    ours = ("app.", "run.", "service.", "process.", "exception.")
    assert {name for name in OURS if not name.startswith(ours)} - theirs <= {
        "http.response.body.size",
        "gen_ai.usage.reasoning.output_tokens",
    }


def test_no_attribute_is_empty(spans: list[ReadableSpan]) -> None:
    assert breaking(spans, lambda span: not {"", None, ()} & set(of(span).values())) == []


def test_error_type_is_set_exactly_with_an_error_status(
    spans: list[ReadableSpan],
) -> None:
    assert breaking(spans, lambda span: is_error(span) == ("error.type" in of(span))) == []
    assert any(is_error(span) for span in spans if operation(span) == "client")


def test_what_was_stopped_on_purpose_has_no_status(spans: list[ReadableSpan]) -> None:
    stopped = [span for span in spans if of(span).get("app.cancelled")]
    assert {operation(span) for span in stopped} >= {"invoke_workflow", "invoke_agent", "chat"}
    assert breaking(stopped, lambda span: span.status.status_code is StatusCode.UNSET) == []


def test_no_span_has_the_status_ok(spans: list[ReadableSpan]) -> None:
    """By convention instrumentation leaves the status unset; only the operator sets OK."""
    assert breaking(spans, lambda span: span.status.status_code is not StatusCode.OK) == []


def test_a_server_span_fails_from_500_and_a_client_span_from_400(spans: list[ReadableSpan]) -> None:
    least = {"server": 500, "client": 400}
    answered = [span for span in spans if operation(span) in least]
    answered = [span for span in answered if "http.response.status_code" in of(span)]
    assert {of(span)["http.response.status_code"] for span in answered} >= {200, 404, 429, 503}

    def holds(span: ReadableSpan) -> bool:
        status: int = of(span)["http.response.status_code"]
        return is_error(span) == (status >= least[operation(span)])

    assert breaking(answered, holds) == []


def test_an_unknown_method_is_only_in_its_own_attribute(spans: list[ReadableSpan]) -> None:
    (span,) = [span for span in spans if span.name == "HTTP"]
    assert of(span)["http.request.method"] == "_OTHER"
    assert of(span)["http.request.method_original"] == "BREW"


def test_credentials_in_urls_are_not_recorded(spans: list[ReadableSpan]) -> None:
    addresses = [of(span)["url.full"] for span in spans if operation(span) == "client"]
    assert addresses
    assert not [address for address in addresses if "hidden" in address]


def test_only_known_events_with_known_attributes(spans: list[ReadableSpan]) -> None:
    known = {value for name, value in vars(semconv).items() if name.startswith("EVENT_")}
    events = [event for span in spans if operation(span) != "client" for event in span.events]
    assert {event.name for event in events} == known
    assert {name for event in events for name in event.attributes or {}} <= OURS
    assert all(event.attributes is not None for event in events)
    plain = {semconv.EVENT_FIRST_OUTPUT, semconv.EVENT_CONTEXT_TRIMMED}
    about_someone = [event for event in events if event.name not in plain]
    assert all("app.reason" in (event.attributes or {}) for event in about_someone)
    others = [event for span in spans if operation(span) == "client" for event in span.events]
    assert {event.name for event in others} == {"exception"}  # the instrumentation's own


def test_every_span_has_ended_and_lies_within_its_parent(spans: list[ReadableSpan]) -> None:
    by_id = {span.context.span_id: span for span in spans if span.context}

    def lies_within(span: ReadableSpan) -> bool:
        start, end = span.start_time or 0, span.end_time or 0
        if span.parent is None:
            return 0 < start <= end
        parent = by_id[span.parent.span_id]
        return (parent.start_time or 0) <= start <= end <= (parent.end_time or 0)

    assert breaking(spans, lies_within) == []


# --- metrics ---

LABELS = {
    *("method", "route", "status_code", "error_type", "outcome", "reason", "signal"),
    *("operation", "provider", "request_model", "response_model", "token_type"),
    *("workflow", "agent", "model", "system", "state", "kind", "rule", "subject"),
}
UNITS = {"seconds", "bytes", "usd"}
THINGS = {
    *("requests", "runs", "streams", "items", "fds", "outcomes", "retries"),
    *("downs", "disconnects", "resumes", "events", "failures", "rejections", "fallbacks"),
    *("recoveries", "trims", "hedges", "cuts", "reservations", "circuits", "changes", "calls"),
    *("continuations", "feedback"),
}
NAMED_BY_CONVENTION = {"gen_ai_client_token_usage"}  # in tokens


@pytest.fixture
def families(day: Capture) -> list[Metric]:
    found = list(families_of(day.page()))
    assert len(found) > 20
    return found


def named(families: Iterable[Metric]) -> Iterator[str]:
    """Yield the names as on the page, since the parser removes `_total`."""
    for family in families:
        yield f"{family.name}_total" if family.type == "counter" else family.name


def test_metric_names_are_plain(families: list[Metric]) -> None:
    assert [name for name in named(families) if not re.fullmatch("[a-z_]+", name)] == []


def test_a_metric_is_named_after_its_unit_or_what_it_counts(families: list[Metric]) -> None:
    names = {family.name for family in families} - NAMED_BY_CONVENTION
    assert [name for name in names if name.rpartition("_")[2] not in UNITS | THINGS] == []
    timed = [family.name for family in families if family.type == "histogram"]
    assert [name for name in set(timed) & names if not name.endswith("_seconds")] == []


def test_counters_and_nothing_else_are_totals(day: Capture) -> None:
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", day.page(), re.MULTILINE))
    assert [name for name in kinds if name.endswith("_total") != (kinds[name] == "counter")] == []


def test_every_metric_has_a_help_text(families: list[Metric]) -> None:
    assert [
        family.name for family in families if not re.fullmatch(r"\S.{10,}\.", family.documentation)
    ] == []


def test_labels_are_the_known_ones(families: list[Metric]) -> None:
    found = {label for family in families for sample in family.samples for label in sample.labels}
    assert found - LABELS <= {"le"}


def test_label_values_come_from_configuration_and_code(day: Capture) -> None:
    page = day.page()
    assert "/made-up" not in page
    assert "BREW" not in page
    assert 'route="_OTHER"' in page
    assert 'method="_OTHER"' in page


def test_the_metrics_page_has_every_declared_family(families: list[Metric]) -> None:
    written = {value.name for value in vars(semconv).values() if isinstance(value, Instrument)}
    assert set(named(families)) == written
