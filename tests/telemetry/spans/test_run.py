"""The trace of a fan-out: its tree, its names, and how operations end."""

import asyncio
from collections.abc import Iterator
from itertools import product

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode, get_current_span

from telemetry import ChatOperation, Telemetry, semconv
from telemetry.spans.operation import resolve_error_type
from tests._support.telemetry.capture import Capture, capturing, start
from tests._support.telemetry.sample_runs import chat_of, fan_out


async def test_a_fan_out_is_one_tree(capture: Capture) -> None:
    await fan_out(capture.telemetry)
    parents = sorted((span.name, capture.parent_name(span)) for span in capture.spans[:-1])
    assert capture.parent_name(capture.span("invoke_workflow fanout")) is None
    assert parents == [
        *[("chat gpt-4o-mini", "invoke_agent llm-1")] * 2,
        *[("chat gpt-4o-mini", "invoke_agent llm-2")] * 2,
        ("invoke_agent llm-1", "invoke_workflow fanout"),
        ("invoke_agent llm-2", "invoke_workflow fanout"),
    ]


async def test_a_chat_has_the_attributes_of_the_convention(capture: Capture) -> None:
    await fan_out(capture.telemetry)
    answered = next(
        span for span in capture.spans if span.attributes and semconv.RESPONSE_ID in span.attributes
    )
    attributes = dict(answered.attributes or {})
    first_chunk_s = attributes.pop(semconv.TIME_TO_FIRST_CHUNK)
    assert answered.kind is SpanKind.CLIENT
    assert answered.end_time is not None
    assert answered.start_time is not None
    assert isinstance(first_chunk_s, float)
    assert 0 < first_chunk_s < (answered.end_time - answered.start_time) / 1e9
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "server.address": "api.openai.com",
        "server.port": 443,
        "app.attempt": 2,
        "app.chunks": 3,
    }


async def test_a_workflow_has_its_run_id_and_cost(capture: Capture) -> None:
    await fan_out(capture.telemetry)
    workflow = capture.span("invoke_workflow fanout")
    assert dict(workflow.attributes or {}) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "fanout",
        "gen_ai.conversation.id": "conv_1",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 40,
        "run.id": "run_1",
        "app.config_hash": "abc",
        "app.agents": ("llm-1", "llm-2"),
        "app.outcome": "completed",
        "app.cost_usd": 0.5,
    }


def broken_rules(span: ReadableSpan) -> Iterator[str]:
    """Yield the conventions that `span` violates."""
    attributes = span.attributes or {}
    is_error = span.status.status_code is StatusCode.ERROR
    if is_error != (semconv.ERROR_TYPE in attributes):
        yield "error.type is there exactly when the status is ERROR"
    if attributes.get(semconv.CANCELLED) and span.status.status_code is not StatusCode.UNSET:
        yield "what was cancelled on purpose has no status"
    operation = attributes.get(semconv.OPERATION_NAME)
    if operation is None or not span.name.startswith(f"{operation} "):
        yield "the name starts with the operation"
    if not all("." in key and key == key.lower() for key in attributes):
        yield "an attribute's name has a namespace and no capitals"
    if not all("." in event.name for event in span.events):
        yield "an event's name has a namespace"


async def test_every_span_follows_the_conventions(capture: Capture) -> None:
    await fan_out(capture.telemetry)
    workflow = start(capture.telemetry)
    chat_of(workflow).finish(cancelled=True, error_type="timeout")
    workflow.start_agent("llm-1", "m").finish("skipped", error_type="straggler")
    workflow.start_agent("llm-1", "m").finish("cancelled")
    workflow.start_agent("llm-1", "m").finish("failed")
    workflow.record_step_down("llm-1", "timeout")
    workflow.finish("cancelled", error_type="client_left")
    assert len(capture.spans) == 12
    assert [rule for span in capture.spans for rule in broken_rules(span)] == []


async def test_a_failed_agent_does_not_make_its_workflow_an_error(capture: Capture) -> None:
    await fan_out(capture.telemetry)
    failed = capture.span("invoke_agent llm-2")
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "http_500"
    assert capture.span("invoke_workflow fanout").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("outcome", "error_type", "error"),
    [
        ("completed", None, ""),
        ("answered", None, ""),
        ("failed", "timeout", "timeout"),
        ("failed", None, "_OTHER"),
        ("cancelled", "timeout", ""),
        ("skipped", None, ""),
        ("interrupted", None, ""),
        ("interrupted", "killed", "killed"),
    ],
)
def test_only_a_failure_has_an_error_type(outcome: str, error_type: str | None, error: str) -> None:
    assert resolve_error_type(outcome, error_type) == error


def test_a_cancelled_operation_has_the_cancelled_attribute(capture: Capture) -> None:
    workflow = start(capture.telemetry)
    workflow.finish("cancelled")
    assert (capture.span("invoke_workflow fanout").attributes or {})["app.cancelled"] is True


def test_a_degraded_answer_is_counted_once_for_each_reason(capture: Capture) -> None:
    capture.telemetry.set_labels(workflows=["fanout", "other"])
    page = capture.page()
    for workflow, reason in product(("fanout", "other"), ("agents", "combiner")):
        assert f'fanout_degraded_runs_total{{reason="{reason}",workflow="{workflow}"}} 0.0' in page
    start(capture.telemetry).finish("completed", degraded_by=("agents", "combiner"), missing=["b"])
    start(capture.telemetry).finish("completed", degraded_by=("agents",), missing=["a", "b"])
    page = capture.page()
    assert 'fanout_degraded_runs_total{reason="agents",workflow="fanout"} 2.0' in page
    assert 'fanout_degraded_runs_total{reason="combiner",workflow="fanout"} 1.0' in page
    attributes = capture.spans[0].attributes or {}
    assert attributes["app.degraded_by"] == ("agents", "combiner")
    assert attributes["app.missing_agents"] == ("b",)


def test_an_operation_ends_once(capture: Capture) -> None:
    workflow = start(capture.telemetry)
    agent = workflow.start_agent("llm-1", "gpt-4o-mini")
    chat = chat_of(workflow)
    for _ in range(2):
        chat.finish()
        agent.finish("answered", cost_usd=1.0)
        workflow.finish("completed")
    workflow.finish("failed", error_type="late")
    assert len(capture.spans) == 3
    page = capture.page()
    assert 'fanout_runs_total{outcome="completed",workflow="fanout"} 1.0' in page
    assert 'fanout_cost_usd_total{agent="llm-1",model="gpt-4o-mini"} 1.0' in page
    assert 'fanout_runs_total{outcome="failed",workflow="fanout"} 0.0' in page
    assert "fanout_inflight_runs 0.0" in page


def test_a_late_agent_may_end_after_its_workflow(capture: Capture) -> None:
    workflow = start(capture.telemetry)
    agent = workflow.start_agent("llm-1", "gpt-4o-mini")
    workflow.finish("completed")
    agent.finish("skipped")
    assert capture.parent_name(capture.span("invoke_agent llm-1")) == "invoke_workflow fanout"


def test_secrets_in_events_are_redacted(capture: Capture) -> None:
    workflow = start(capture.telemetry)
    workflow.record_straggler_cut("llm-1", "Bearer abcdef123456", "silence")
    workflow.record_step_down("llm-combine", "timeout")
    workflow.finish("completed")
    events = [
        (event.name, dict(event.attributes or {}))
        for event in capture.span("invoke_workflow fanout").events
    ]
    assert events == [
        (
            "app.straggler_cut",
            {"app.agent": "llm-1", "app.reason": "Bearer [redacted]", "app.phase": "silence"},
        ),
        ("app.step_down", {"app.agent": "llm-combine", "app.reason": "timeout"}),
    ]


async def test_only_an_active_chat_is_the_current_span(capture: Capture) -> None:
    workflow = start(capture.telemetry)
    chat = chat_of(workflow)
    assert get_current_span() is INVALID_SPAN
    with chat.activate():
        await asyncio.sleep(0)
        assert get_current_span().get_span_context() == chat.span_context
    assert get_current_span() is INVALID_SPAN


async def test_cancelling_an_active_chat_detaches_in_order(
    capture: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(chat: ChatOperation) -> None:
        try:
            with chat.activate():
                await asyncio.sleep(60)
        finally:
            chat.finish(cancelled=True)

    workflow = start(capture.telemetry)
    tasks = [asyncio.create_task(send(chat_of(workflow))) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(capture.spans) == 20
    assert "Failed to detach" not in caplog.text


def test_without_an_exporter_trace_ids_are_real_and_unique(quiet: Telemetry) -> None:
    runs = [start(quiet) for _ in range(100)]
    assert len({run.trace_id for run in runs}) == 100
    assert all(run.span_context.is_valid for run in runs)
    assert not any(run.span_context.trace_flags.sampled for run in runs)
    chat = chat_of(runs[0])
    assert chat.span_context.trace_id == runs[0].span_context.trace_id


def test_the_standard_variables_choose_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    captured = capturing()
    run = start(captured.telemetry)
    chat_of(run).finish()
    run.finish("completed")
    assert run.span_context.is_valid
    assert captured.spans == []
