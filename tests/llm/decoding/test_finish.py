"""Reasons for the end of an answer, as model servers name them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from service.errors import UpstreamBusy, UpstreamError, UpstreamFailed
from service.llm.decoding.finish import read_finish_reason


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("end_turn", "stop"),
        ("endTurn", "stop"),
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("eosFound", "stop"),
        ("COMPLETE", "stop"),
        ("stop_sequence", "stop"),
        ("FinishReason.STOP", "stop"),
        ("REASON_STOP", "stop"),
        ("FINISH_REASON_STOP", "stop"),
        ({"type": "stop", "matched": 2}, "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("REASON_MAX_LEN", "length"),
        ("maxPredictedTokensReached", "length"),
        ("model_context_window_exceeded", "length"),
        ({"type": "length", "length": 16}, "length"),
        ("tool_calls", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("function_call", "tool_calls"),
        ("TOOL_CALL", "tool_calls"),
        ("content_filter", "content_filter"),
        ("content-filter", "content_filter"),
        ("content_filter: RECITATION", "content_filter"),
        ("SAFETY", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("sensitive", "content_filter"),
        ("refusal", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("ERROR_TOXIC", "content_filter"),
    ],
)
def test_the_reasons_of_servers_are_openais(native: Any, reason: str) -> None:
    finish = read_finish_reason(native)
    assert finish is not None
    assert (finish.reason, finish.failure) == (reason, None)


@pytest.mark.parametrize(
    "native",
    [
        "error",
        "ERROR",
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "network_error",
        "timeout",
        "MALFORMED_FUNCTION_CALL",
        "modelUnloaded",
        {"type": "abort", "message": "shutting down"},
    ],
)
def test_a_reason_that_means_failure_is_a_failure(native: Any) -> None:
    finish = read_finish_reason(native)
    assert finish is not None
    assert (finish.reason, finish.failure) == ("error", UpstreamFailed)


def test_missing_resources_of_a_server_mean_that_it_is_busy() -> None:
    finish = read_finish_reason("insufficient_system_resource")
    assert finish is not None
    assert finish.failure is UpstreamBusy


@pytest.mark.parametrize(
    "value", [None, "", " ", "null", "NULL", "None", 0, False, [], {}, {"type": None}, [1]]
)
def test_values_that_state_no_reason_are_no_end(value: Any) -> None:
    assert read_finish_reason(value) is None


def test_an_unknown_reason_is_read_as_stop_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        found = [read_finish_reason("went_for_a_walk") for _ in range(3)]
    assert [each and each.reason for each in found] == ["stop"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "unknown finish_reason 'went_for_a_walk' of a model server, read as stop"
    ]


@pytest.mark.parametrize(
    ("native", "reason", "failure"),
    [
        ("upstream_error", "error", UpstreamFailed),
        ("GatewayTimeout", "error", UpstreamFailed),
        ("aborted by server", "error", UpstreamFailed),
        ("engine-overloaded", "error", UpstreamBusy),
        ("token_limit_reached", "length", None),
        ("MaxLengthExceeded", "length", None),
        ("output_moderation", "content_filter", None),
    ],
)
def test_the_words_of_an_unknown_reason_state_its_meaning(
    native: str, reason: str, failure: type[UpstreamError] | None
) -> None:
    assert read_finish_reason(native) == (reason, native, failure)
