"""Tool calls and their results in a conversation's history."""

from __future__ import annotations

from typing import Any

import pytest

from service.conversation import Continue
from service.domain import Message, RequestOptions, ToolCall
from service.errors import RequestError
from service.messages import build_answer, parse_chat_message
from tests._support.llm.scripted import an_ask, model
from tests._support.runs.service import service

SOLO: dict[str, Any] = {"agents": {"a": {"model": model("a")}}, "combiner": None}
QUESTION = Message("user", "Weather?")
CONTINUE = Continue("conv_1")
NEXT = Message("user", "Thanks.")
CALL = build_answer("", [ToolCall(0, "1", "f", "{}")])


def result(call_id: str) -> Message:
    return parse_chat_message({"role": "tool", "tool_call_id": call_id, "content": "Rain."})


async def test_a_conversation_continues_after_a_tool_call_without_a_result() -> None:
    async with service(**SOLO) as it:
        brought = (QUESTION, CALL, result("1"), Message("assistant", "Rain."))
        await it.finish(an_ask(messages=(*brought, NEXT), history=CONTINUE))
        with pytest.raises(RequestError, match="messages: a message of the role tool"):
            await it.finish(an_ask(messages=(result("1"),), history=CONTINUE))
        await it.finish(an_ask(messages=(NEXT,), history=CONTINUE))


async def test_any_number_of_rounds_of_tool_calls_are_one_exchange() -> None:
    function = {"name": "f", "parameters": {"type": "object"}}
    parameters = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    tools = RequestOptions(parameters=parameters)
    async with service(**SOLO, limits={"exchanges": 1}) as it:
        await it.finish(an_ask(messages=(Message("user", "Hello."),), options=tools))
        said = Message("user", "Never mind. Weather?")
        for _ in range(5):
            run = await it.finish(an_ask(messages=(said,), history=CONTINUE, options=tools))
            (call,) = (await it.stored(run)).tool_calls
            said = result(call.id)
        told = it.server.asked[-1]["messages"]
        assert [each["role"] for each in told] == ["user", *["assistant", "tool"] * 4]
        assert told[0]["content"] == "Never mind. Weather?"
