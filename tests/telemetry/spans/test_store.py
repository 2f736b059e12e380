"""Store operations: parents of their spans, metrics, and the lag of the journal."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, get_args

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from telemetry import Telemetry
from telemetry.http.middleware import ASGIApp
from telemetry.spans.store import RecoveryOutcome, UnavailableReason
from tests._support.telemetry.asgi import answering, call
from tests._support.telemetry.capture import Capture, start
from tests._support.telemetry.metrics_page import OPENMETRICS, samples

DURATION = "db_client_operation_duration_seconds"


def page(telemetry: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return samples(telemetry.render_metrics("")[0].decode())


def counted(telemetry: Telemetry, operation: str, error: str = "") -> float | None:
    labels = (("error_type", error), ("operation", operation), ("system", "sqlite"))
    return page(telemetry).get((f"{DURATION}_count", labels))


def reading(telemetry: Telemetry) -> ASGIApp:
    """A route that reads a run from the store."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        telemetry.start_store_operation("read_run", system="sqlite").finish()
        await answering(200, b"x", route="/api/runs/<run_id>")(scope, receive, send)

    return app


# --- operations ---


async def test_a_read_of_a_request_is_a_child_of_its_span(capture: Capture) -> None:
    await call(capture.telemetry.middleware(reading(capture.telemetry)))
    span = capture.span("read_run")
    assert capture.parent_name(span) == "GET /api/runs/<run_id>"
    assert span.kind is SpanKind.CLIENT
    assert dict(span.attributes or {}) == {
        "db.system.name": "sqlite",
        "db.operation.name": "read_run",
    }


def test_a_write_of_a_run_is_a_child_of_its_span(capture: Capture) -> None:
    workflow = start(capture.telemetry)
    capture.telemetry.start_store_operation("end_run", system="sqlite", parent=workflow).finish()
    workflow.finish("completed")
    assert capture.parent_name(capture.span("end_run")) == "invoke_workflow fanout"


async def test_an_explicit_parent_overrides_the_request(capture: Capture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        workflow = start(capture.telemetry)
        capture.telemetry.start_store_operation(
            "end_run", system="sqlite", parent=workflow
        ).finish()
        workflow.finish("completed")
        await answering()(scope, receive, send)

    await call(capture.telemetry.middleware(app))
    assert capture.parent_name(capture.span("end_run")) == "invoke_workflow fanout"


def test_an_operation_without_parent_is_measured_without_a_span(capture: Capture) -> None:
    capture.telemetry.start_store_operation("commit", system="sqlite").finish()
    assert capture.spans == []
    assert counted(capture.telemetry, "commit") == 1


@pytest.mark.parametrize("reason", get_args(UnavailableReason))
def test_a_failed_operation_has_the_reason_as_error_type(
    capture: Capture, reason: UnavailableReason
) -> None:
    workflow = start(capture.telemetry)
    operation = capture.telemetry.start_store_operation("end_run", system="sqlite", parent=workflow)
    operation.finish(reason)
    span = capture.span("end_run")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == reason
    assert counted(capture.telemetry, "end_run", reason) == 1
    assert counted(capture.telemetry, "end_run") is None


class Trouble(Exception):
    reason = "locked"


@pytest.mark.parametrize(
    ("error", "error_type"), [(Trouble(), "locked"), (LookupError(), "LookupError"), (None, "")]
)
def test_the_end_of_a_with_block_ends_the_operation(
    capture: Capture, error: Exception | None, error_type: str
) -> None:
    operation = capture.telemetry.start_store_operation("list", system="sqlite")
    with contextlib.suppress(Trouble, LookupError), operation:
        if error:
            raise error
    assert counted(capture.telemetry, "list", error_type) == 1


def test_a_cancelled_operation_is_not_an_error(capture: Capture) -> None:
    workflow = start(capture.telemetry)
    operation = capture.telemetry.start_store_operation("list", system="sqlite", parent=workflow)
    with pytest.raises(asyncio.CancelledError), operation:
        raise asyncio.CancelledError
    span = capture.span("list")
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["app.cancelled"] is True
    assert counted(capture.telemetry, "list") == 1


def test_a_store_operation_ends_once(capture: Capture) -> None:
    operation = capture.telemetry.start_store_operation("search", system="sqlite")
    operation.finish()
    operation.finish("slow")
    assert counted(capture.telemetry, "search") == 1
    assert counted(capture.telemetry, "search", "slow") is None


async def test_a_slow_operation_has_its_trace_as_exemplar(capture: Capture) -> None:
    await call(capture.telemetry.middleware(reading(capture.telemetry)))
    context = capture.span("read_run").context
    assert context
    trace_id = format(context.trace_id, "032x")
    lines = capture.page(OPENMETRICS).splitlines()
    assert any(line.startswith(DURATION) and trace_id in line for line in lines)


async def test_the_store_is_measured_without_an_exporter(quiet: Telemetry) -> None:
    await call(quiet.middleware(reading(quiet)))
    assert counted(quiet, "read_run") == 1


# --- the journal ---


def oldest_s(telemetry: Telemetry) -> float:
    return page(telemetry)["journal_oldest_pending_seconds", ()]


async def test_the_age_of_pending_events_grows_while_the_journal_hangs(quiet: Telemetry) -> None:
    quiet.journal.set_pending(7, oldest_s=3.0)
    assert page(quiet)["journal_pending_events", ()] == 7
    before = oldest_s(quiet)
    await asyncio.sleep(0.01)
    assert oldest_s(quiet) > before >= 3


def test_a_journal_without_pending_events_has_age_zero(quiet: Telemetry) -> None:
    quiet.journal.set_pending(7, oldest_s=3.0)
    quiet.journal.set_pending(0, oldest_s=0.0)
    assert oldest_s(quiet) == 0
    assert page(quiet)["journal_pending_events", ()] == 0


def test_a_commit_observes_its_lag(quiet: Telemetry) -> None:
    quiet.journal.record_commit(0.25)
    assert page(quiet)["journal_lag_seconds_sum", ()] == 0.25


@pytest.mark.parametrize("reason", get_args(UnavailableReason))
def test_failure_counters_start_at_zero(quiet: Telemetry, reason: UnavailableReason) -> None:
    labels = (("reason", reason),)
    names = ("journal_failures_total", "store_rejections_total")
    assert [page(quiet)[name, labels] for name in names] == [0, 0]
    quiet.journal.record_failure(reason)
    quiet.record_store_rejection(reason)
    assert [page(quiet)[name, labels] for name in names] == [1, 1]


@pytest.mark.parametrize("outcome", get_args(RecoveryOutcome))
def test_recovery_counters_start_at_zero(quiet: Telemetry, outcome: RecoveryOutcome) -> None:
    name, labels = "fanout_recoveries_total", (("outcome", outcome),)
    assert page(quiet)[name, labels] == 0
    quiet.record_recovery(outcome)
    assert page(quiet)[name, labels] == 1


def test_a_trimmed_context_is_an_event_of_its_agent(capture: Capture) -> None:
    agent = start(capture.telemetry).start_agent("llm-1", "gpt-4o-mini")
    agent.record_context_trim(6)
    agent.finish("answered")
    (event,) = capture.span("invoke_agent llm-1").events
    assert event.name == "app.context_trimmed"
    assert dict(event.attributes or {}) == {"app.dropped_messages": 6}
    assert page(capture.telemetry)["fanout_context_trims_total", (("agent", "llm-1"),)] == 1
