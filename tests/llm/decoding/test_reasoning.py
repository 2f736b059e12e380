"""Text and reasoning in the values of messages, under any name and in any shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.llm.decoding.reasoning import read_content
from service.llm.reply import Reply

FIELDS: list[dict[str, Any]] = [
    {"reasoning_content": "secret"},
    {"reasoning": {"content": "secret"}},
    {"reasoning_details": [{"type": "reasoning.text", "text": "secret"}]},
    {"thinking_blocks": [{"type": "thinking", "thinking": "secret", "signature": "x"}]},
    {"reasoningContent": {"reasoningText": {"text": "secret", "signature": "x"}}},
    {"cot": "secret"},
    {"chain_of_thought": ["secret"]},
    {"rationale": "secret"},
    {"scratchpad": "secret"},
    {"analysis": "secret"},
]


@pytest.mark.parametrize("fields", FIELDS, ids=lambda each: next(iter(each)))
def test_reasoning_is_found_under_every_name_streamed_or_not(fields: dict[str, Any]) -> None:
    message = {**fields, "content": "Four."}
    whole: list[object] = [{"choices": [{"message": message, "finish_reason": "stop"}]}]
    pieces = [{"choices": [{"delta": delta}]} for delta in (fields, {"content": "Four."})]
    for chunks in (whole, [*pieces, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]):
        reply = Reply()
        reply.take([json.dumps(each).encode() for each in chunks], "model")
        assert reply.finish("model").error is None
        assert (reply.text, reply.reasoning, reply.finish_reason) == ("Four.", "secret", "stop")


@pytest.mark.parametrize(
    "content",
    [
        "Four.",
        ["Fo", "ur."],
        {"type": "text", "text": "Four."},
        [{"type": "text", "text": {"value": "Four.", "annotations": []}}],
        {"parts": [{"text": "Fo"}, {"text": "ur."}]},
        [None, 7, {"type": "reference", "ids": [1]}, {"type": "output_text", "text": "Four."}],
    ],
)
def test_text_is_found_in_every_shape(content: Any) -> None:
    assert read_content(content) == ("Four.", "")


@pytest.mark.parametrize("refusal", [7, True, {"a": 1}, 1.5, [], ""])
def test_a_refusal_that_is_no_text_cannot_fail_an_answer(refusal: Any) -> None:
    reply = Reply()
    deltas = ({"content": "Four.", "refusal": refusal}, {"refusal": refusal})
    chunks = [{"choices": [{"delta": each, "finish_reason": None}]} for each in deltas]
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    added = reply.take([json.dumps(each).encode() for each in (*chunks, end)], "model")
    assert (added.text, added.error) == ("Four.", None)


def test_words_about_the_state_of_the_server_cannot_fail_an_answer() -> None:
    reply = Reply()
    states: list[object] = [{"detail": "queue: 3"}, {"message": "warming up"}]
    answer = {"choices": [{"delta": {"content": "Four."}, "finish_reason": "stop"}]}
    added = reply.take([json.dumps(each).encode() for each in (*states, answer)], "model")
    assert (added.text, added.error) == ("Four.", None)


def test_the_last_words_of_a_broken_stream_are_its_error() -> None:
    reply = Reply()
    text = {"choices": [{"delta": {"content": "Fo"}}]}
    reply.take([json.dumps(each).encode() for each in (text, {"detail": "No memory."})], "model")
    assert "No memory." in str(reply.finish("model").error)
