"""Calls of tools in a conversation go with their results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.domain import Message, RequestOptions, ToolCall
from service.errors import RequestError
from service.llm.protocol import as_message
from service.runs.history.tool_turns import paired
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.service import service

SOLO: dict[str, Any] = {"agents": {"a": {"model": model("a")}}, "combiner": None}
QUESTION = Message("user", "Weather?")
NEXT = Message("user", "Thanks.")


def calling(*ids: str, text: str = "") -> Message:
    calls = [ToolCall(at, each, "f", "{}") for at, each in enumerate(ids)]
    return Message("assistant", text, as_message(text, calls))


def result(call_id: str) -> Message:
    whole = {"role": "tool", "tool_call_id": call_id, "content": "Rain."}
    return Message("tool", "Rain.", json.dumps(whole))


def test_calls_with_their_results_stay_as_they_are() -> None:
    turns = [QUESTION, calling("1", "2"), result("1"), result("2"), NEXT]
    assert paired(turns, turns) == turns


def test_an_earlier_call_without_a_result_is_left_out_and_what_was_said_with_it_stays() -> None:
    assert paired([QUESTION, calling("1"), NEXT], [NEXT]) == [QUESTION, NEXT]
    said = Message("assistant", "Let me look.")
    assert paired([QUESTION, calling("1", text="Let me look."), NEXT], [NEXT]) == [
        QUESTION,
        said,
        NEXT,
    ]


def test_of_several_calls_those_with_a_result_stay() -> None:
    turns = [QUESTION, calling("1", "2"), result("2"), NEXT]
    (_, call, *rest) = paired(turns, [NEXT])
    assert [each["id"] for each in json.loads(call.whole or "")["tool_calls"]] == ["2"]
    assert rest == [result("2"), NEXT]


def test_an_earlier_result_that_nobody_called_for_is_left_out() -> None:
    assert paired([result("1"), QUESTION], [QUESTION]) == [QUESTION]
    assert paired([calling("2"), result("1"), QUESTION], [QUESTION]) == [QUESTION]


@pytest.mark.parametrize(
    "turns",
    [
        [QUESTION, result("1")],
        [QUESTION, calling("2"), result("1")],
        [QUESTION, calling("1"), NEXT],
        [QUESTION, calling("1"), NEXT, result("1")],
    ],
)
def test_what_the_caller_says_now_must_belong_together(turns: list[Message]) -> None:
    with pytest.raises(RequestError) as refused:
        paired(turns, turns)
    assert (refused.value.status, refused.value.details[0].field) == (400, "messages")


async def test_a_conversation_with_a_call_that_nobody_answered_goes_on() -> None:
    async with service(**SOLO) as it:
        brought = (QUESTION, calling("1"), result("1"), Message("assistant", "Rain."))
        await it.finish(an_ask(messages=(*brought, NEXT), continues=True))
        with pytest.raises(RequestError, match="a tool's call needs its result"):
            await it.finish(an_ask(messages=(result("1"),), continues=True))
        await it.finish(an_ask(messages=(NEXT,), continues=True))


async def test_rounds_of_tools_are_one_exchange_however_many_they_are() -> None:
    function = {"name": "f", "parameters": {"type": "object"}}
    options = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    tools = RequestOptions(options=options)
    async with service(**SOLO, limits={"exchanges": 1}) as it:
        await it.finish(an_ask(messages=(Message("user", "Hello."),), particulars=tools))
        said = Message("user", "Never mind. Weather?")
        for _ in range(5):
            run = await it.finish(an_ask(messages=(said,), continues=True, particulars=tools))
            (call,) = (await it.stored(run)).tool_calls
            said = result(call.id)
        told = it.server.asked[-1]["messages"]
        assert [each["role"] for each in told] == ["user", *["assistant", "tool"] * 4]
        assert told[0]["content"] == "Never mind. Weather?"
