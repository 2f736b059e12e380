"""Prompts and answers: on the span for those who opted in, nowhere for the rest."""

from __future__ import annotations

import json

from telemetry import semconv
from telemetry.spans.content import build_content_attributes
from tests._support.telemetry.capture import capturing, start

ASKED = [("system", "Be brief."), ("user", "Hé?"), ("assistant", "Yes."), ("user", "Why?")]


def test_content_has_the_shape_of_the_conventions() -> None:
    found = build_content_attributes(ASKED, "Because.", "stop")
    assert {name: json.loads(value) for name, value in found.items()} == {
        semconv.INPUT_MESSAGES: [
            {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Hé?"}]},
            {"role": "assistant", "parts": [{"type": "text", "content": "Yes."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Why?"}]},
        ],
        semconv.OUTPUT_MESSAGES: [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": "Because."}],
                "finish_reason": "stop",
            }
        ],
    }


def test_a_key_in_a_prompt_is_redacted() -> None:
    found = build_content_attributes([("user", "is sk-0123456789abcdef a key?")], "", "")
    assert found == {
        semconv.INPUT_MESSAGES: json.dumps(
            [
                {
                    "role": "user",
                    "parts": [{"type": "text", "content": "is [redacted] a key?"}],
                }
            ]
        )
    }


def test_a_call_records_content_only_after_the_opt_in() -> None:
    for wanted in (False, True):
        captured = capturing(captures_content=wanted)
        run = start(captured.telemetry)
        agent = run.start_agent("llm-1", "gpt-4o-mini")
        call = agent.start_chat(
            model="gpt-4o-mini",
            provider="openai",
            server_address="x",
            server_port=443,
            stream=True,
            attempt=1,
        )
        assert call.captures_content is wanted
        if call.captures_content:
            call.record_content(ASKED, "Because.", "stop")
        call.finish()
        attributes = captured.span("chat gpt-4o-mini").attributes or {}
        assert (semconv.INPUT_MESSAGES in attributes) is wanted
