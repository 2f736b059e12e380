"""OpenAI's SDK for Python with a single agent: tools, structured answers and images."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests._support.clients.openai_sdk import PIXEL, USER, refused, streamed

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


async def test_a_tool_call_is_returned_and_its_result_answered(client: AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"model": "agent/caller", "tools": [WEATHER]}
    first = await client.chat.completions.create(messages=USER, **asked)
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Why is the sky blue?", "days": 7}
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, as ever."}
    second = await client.chat.completions.create(messages=[*USER, message, result], **asked)
    assert "Sunny, as ever." in (second.choices[0].message.content or "")


async def test_tool_calls_are_streamed_in_pieces(client: AsyncOpenAI) -> None:
    chunks = await streamed(client, model="agent/eager", tools=[WEATHER])
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    ids: dict[int, str | None] = {}
    arguments: dict[int, str] = {}
    for chunk in chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function
            ids[call.index] = ids.get(call.index) or call.id
            said = call.function.arguments or ""
            arguments[call.index] = arguments.get(call.index, "") + said
    assert len(set(ids.values())) == 2
    assert [json.loads(each)["days"] for each in arguments.values()] == [7, 7]


async def test_the_stream_helper_assembles_calls(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="agent/caller", messages=USER, tools=[WEATHER]
    ) as stream:
        done = [e async for e in stream if e.type == "tool_calls.function.arguments.done"]
        final = await stream.get_final_completion()
    assert [each.name for each in done] == ["get_weather"]
    calls = final.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.parsed_arguments == {"city": "Why is the sky blue?", "days": 7}


async def test_a_tool_can_be_required_and_forbidden(client: AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"messages": USER, "tools": [WEATHER]}
    required = await client.chat.completions.create(
        model="agent/plain", tool_choice="required", **asked
    )
    forbidden = await client.chat.completions.create(
        model="agent/caller", tool_choice="none", **asked
    )
    assert required.choices[0].finish_reason == "tool_calls"
    assert forbidden.choices[0].finish_reason == "stop"


async def test_tools_are_refused_for_an_ensemble_of_several_agents(client: AsyncOpenAI) -> None:
    error = await refused(client, tools=[WEATHER])
    assert isinstance(error, openai.BadRequestError)
    assert error.param == "tools"


class Weather(BaseModel):
    """A structured answer."""

    place: str
    degrees: int
    windy: bool
    days: list[str]


async def test_an_answer_can_be_parsed_into_a_model(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.parse(
        model="agent/plain", messages=USER, response_format=Weather
    )
    parsed = completion.choices[0].message.parsed
    assert parsed
    assert (parsed.degrees, parsed.windy) == (7, True)
    async with client.chat.completions.stream(
        model="agent/plain", messages=USER, response_format=Weather
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == parsed


# The SDK's own doing: it declares `parsed` as None and puts a model there.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_a_parsed_answer_can_be_sent_back(client: AsyncOpenAI) -> None:
    """The SDK sends along what it has made of it."""
    parsed = await client.chat.completions.parse(
        model="agent/plain", messages=USER, response_format=Weather
    )
    async with client.chat.completions.stream(
        model="agent/caller", messages=USER, tools=[WEATHER]
    ) as stream:
        called = (await stream.get_final_completion()).choices[0].message
    assert called.tool_calls
    result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "Sunny."}
    answers: list[Any] = [[parsed.choices[0].message, *USER], [called, result]]
    for message, reply in answers:
        for sent in (message, message.to_dict()):
            answer = await client.chat.completions.create(
                model="agent/plain", messages=[*USER, sent, reply], tools=[WEATHER]
            )
            assert answer.choices[0].finish_reason == "stop"


async def test_images_reach_the_model(client: AsyncOpenAI) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ]
    messages: Any = [{"role": "user", "content": parts}]
    answer = await client.chat.completions.create(model="agent/plain", messages=messages)
    assert "Pictures shown: 1." in (answer.choices[0].message.content or "")
