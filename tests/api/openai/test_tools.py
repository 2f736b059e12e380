"""Calls of tools that a program sends back: each answered next, each answer called for."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from service.api.openai.tools import check_calls
from service.domain import Message

ASKED = Message("user", "What is the weather?")


def _calls(*ids: str) -> Message:
    whole = {"role": "assistant", "tool_calls": [{"id": each} for each in ids]}
    return Message("assistant", "", json.dumps(whole))


def _answers(id_: str) -> Message:
    return Message("tool", "Rain", json.dumps({"role": "tool", "tool_call_id": id_}))


@pytest.mark.parametrize(
    "messages",
    [
        [ASKED],
        [ASKED, _calls("a"), _answers("a")],
        [ASKED, _calls("a", "b"), _answers("b"), _answers("a"), ASKED],
        [ASKED, _calls("a"), _answers("a"), _calls("a"), _answers("a")],
    ],
)
def test_calls_with_their_answers_pass(messages: Sequence[Message]) -> None:
    check_calls(messages)


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([_answers("a")], "must answer a call"),
        ([_calls("a"), _answers("b")], "must answer a call"),
        ([_calls("a"), _answers("a"), _answers("a")], "must answer a call"),
        ([ASKED, _calls("a")], "a has no answer"),
        ([_calls("a", "b"), _answers("a"), ASKED], "b has no answer"),
    ],
)
def test_a_call_or_an_answer_alone_is_refused(messages: Sequence[Message], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_calls(messages)
