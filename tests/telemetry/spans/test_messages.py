"""Messages of failures on spans, recorded only after the opt-in for content."""

from __future__ import annotations

import pytest
from opentelemetry.trace import StatusCode

from tests._support.telemetry.capture import Capture, capturing, start


@pytest.fixture
def capture() -> Capture:
    return capturing(captures_content=True)


def test_without_the_opt_in_a_failure_has_only_its_type() -> None:
    capture = capturing()
    start(capture.telemetry).finish("failed", error_type="x", message="Cannot answer 'my secret'.")
    span = capture.span("invoke_workflow fanout")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert (span.attributes or {})["error.type"] == "x"


def test_with_the_opt_in_a_failure_has_its_message_as_status(capture: Capture) -> None:
    run = start(capture.telemetry)
    agent = run.start_agent("llm-1", "gpt-4o-mini")
    agent.finish("failed", error_type="upstream_rejected", message="Bad key sk-0123456789abcdef.")
    run.finish("failed", error_type="too_few_answers", message="0 of 1 agents answered.")
    status = capture.span("invoke_agent llm-1").status
    assert status.status_code is StatusCode.ERROR
    assert status.description == "Bad key [redacted]."
    assert capture.span("invoke_workflow fanout").status.description == "0 of 1 agents answered."


def test_what_was_stopped_on_purpose_has_no_status(capture: Capture) -> None:
    run = start(capture.telemetry)
    run.finish("cancelled", error_type="cancelled", message="The run was cancelled.")
    status = capture.span("invoke_workflow fanout").status
    assert status.status_code is StatusCode.UNSET
    assert status.description is None


def test_a_long_message_is_cut(capture: Capture) -> None:
    run = start(capture.telemetry)
    run.finish("failed", message="x" * 5_000)
    assert capture.span("invoke_workflow fanout").status.description == "x" * 300
