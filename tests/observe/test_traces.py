"""Traces of real runs in Jaeger, after the export and the collector."""

from __future__ import annotations

from tests._support.observe.queries import Jaeger, named, tree, until
from tests._support.observe.traffic import Traffic
from tests._support.telemetry.span_trees import COMBINE, LLM_1, LLM_2, PROCESS, QUICK, process
from tools.observe.stack import Stack


def test_a_run_is_one_tree_from_the_request_to_the_http_spans(
    traffic: Traffic, jaeger: Jaeger
) -> None:
    spans = jaeger.until(traffic.well.trace_id, PROCESS)
    root = named(spans, PROCESS)
    assert root.parent_id == ""
    assert tree(spans, root) == process("fanout", LLM_1, LLM_2, COMBINE)
    assert len(spans) == 1 + 1 + 1 + 3 * 3 + 1
    assert not any(span.is_error or span.links for span in spans)
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        assert span.start_ns <= span.end_ns
        assert not span.parent_id or by_id[span.parent_id].start_ns <= span.start_ns


def test_each_span_has_its_kind_and_attributes(traffic: Traffic, jaeger: Jaeger) -> None:
    spans = jaeger.until(traffic.well.trace_id, PROCESS)
    root = named(spans, PROCESS)
    assert root.kind == "SERVER"
    assert root.attributes["http.route"] == "/api/process"
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["run.id"] == traffic.well.run_id
    workflow = named(spans, "invoke_workflow fanout")
    assert workflow.kind == "INTERNAL"
    assert workflow.attributes["app.outcome"] == "completed"
    assert workflow.attributes["gen_ai.usage.output_tokens"] == 70
    assert workflow.attributes["gen_ai.workflow.name"] == "fanout"
    asked = named(spans, "invoke_agent llm-1")
    assert asked.kind == "INTERNAL"
    assert asked.attributes["gen_ai.agent.name"] == "llm-1"
    assert asked.attributes["gen_ai.request.model"] == f"{QUICK}&seed=1"
    chat = named(spans, f"chat {QUICK}&seed=1")
    assert chat.kind == "CLIENT"
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert chat.attributes["gen_ai.usage.output_tokens"] == 20
    assert chat.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert {span.kind for span in spans if span.name == "POST"} == {"CLIENT"}


def test_every_span_has_the_resource_of_its_process(traffic: Traffic, jaeger: Jaeger) -> None:
    spans = jaeger.until(traffic.well.trace_id, PROCESS)
    assert {span.resource["service.name"] for span in spans} == {"llm-sse-service"}
    assert len({span.resource["service.instance.id"] for span in spans}) == 1
    for span in spans:
        assert span.resource.keys() >= {"service.version", "service.instance.id", "process.pid"}
    assert "llm-sse-service" in jaeger.services()


def test_only_the_agent_that_failed_is_an_error(traffic: Traffic, jaeger: Jaeger) -> None:
    spans = jaeger.until(traffic.failed_agent.trace_id, PROCESS)
    wrong = {span.name: span.attributes["error.type"] for span in spans if span.is_error}
    bad = "invoke_agent bad-status"
    assert wrong.keys() >= {bad, "chat mock?fault=status&status=500"}
    below = {"POST", *wrong}  # the HTTP client's span is an error in its own right
    assert {span.name for span in spans if "error.type" in span.attributes} <= below
    assert wrong[bad] == wrong["chat mock?fault=status&status=500"]
    assert named(spans, bad).attributes["app.outcome"] == "failed"
    assert named(spans, "invoke_workflow one-status").attributes["app.outcome"] == "completed"


def test_a_straggler_was_cut_off_on_purpose(traffic: Traffic, jaeger: Jaeger) -> None:
    spans = jaeger.until(traffic.straggler.trace_id, PROCESS)
    slow = named(spans, "invoke_agent endless-1")
    assert slow.attributes["app.outcome"] == "skipped"
    assert slow.attributes["app.cancelled"] is True
    assert not any(span.is_error for span in spans)
    assert named(spans, "invoke_workflow straggling").attributes["app.outcome"] == "completed"


def test_a_retry_is_an_event_with_its_reason(traffic: Traffic, jaeger: Jaeger) -> None:
    spans = jaeger.until(traffic.retried.trace_id, PROCESS)
    again = named(spans, "invoke_agent again")
    ((name, attributes),) = again.events
    assert name == "app.retry"
    assert attributes["app.reason"]
    assert attributes["app.delay_s"] > 0
    attempts = [span for span in spans if span.parent_id == again.span_id]
    attempts.sort(key=lambda span: span.start_ns)
    assert [span.attributes["app.attempt"] for span in attempts] == [1, 2]
    assert [span.is_error for span in attempts] == [True, False]


def test_a_failed_run_has_its_error_type(traffic: Traffic, jaeger: Jaeger) -> None:
    workflow = named(jaeger.until(traffic.failed.trace_id, PROCESS), "invoke_workflow both-bad")
    assert workflow.is_error
    assert workflow.attributes["error.type"] == "too_few_answers"
    assert workflow.attributes["app.outcome"] == "failed"


def test_a_resumed_stream_links_to_its_run(traffic: Traffic, jaeger: Jaeger) -> None:
    name = "GET /api/runs/<run_id>/events"
    again = named(jaeger.until(traffic.resumed, name), name)
    run = named(jaeger.trace(traffic.well.trace_id), "invoke_workflow fanout")
    assert again.links == [run.span_id]
    assert again.parent_id == ""


def test_a_run_without_readers_ends_after_its_request(traffic: Traffic, jaeger: Jaeger) -> None:
    spans = jaeger.until(traffic.left, PROCESS, "invoke_workflow endless")
    root, run = named(spans, PROCESS), named(spans, "invoke_workflow endless")
    assert root.attributes["app.client_disconnected"] is True
    assert run.parent_id == root.span_id
    assert root.end_ns < run.end_ns
    assert run.attributes["app.cancelled"] is True


def test_log_records_reach_the_collector_with_their_trace(traffic: Traffic, stack: Stack) -> None:
    log = stack.find("collector").log

    def lines() -> list[str]:
        return [line for line in log.read_text().splitlines() if "run completed" in line]

    assert until(lines, "no log record came")
    until(
        lambda: any(traffic.well.run_id in line for line in lines()), "not the record of this run"
    )
