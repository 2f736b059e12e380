"""Tools, response formats, images and stop texts of the mock, and the requests that it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from service.mock_llm.reply import TokenPace
from service.mock_llm.transport import MockLLM, MockTransport

URL = "http://mock/v1/chat/completions"
PIXEL = "data:image/png;base64,iVBORw0KGgo="

Messages = Sequence[dict[str, Any]]


def make_tool(name: str = "get_weather", **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties or {"city": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


async def post_chat(
    text: str | Messages = "What is it like?", model: str = "small", **fields: Any
) -> httpx.Response:
    messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
    transport = MockTransport(MockLLM(pace=TokenPace(first_s=0, gap_s=0)))
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.post(URL, json={"model": model, "messages": messages, **fields})


async def request_choice(*args: Any, **fields: Any) -> dict[str, Any]:
    """Return the only choice of an unstreamed answer."""
    response = await post_chat(*args, **fields)
    assert response.status_code == 200, response.text
    (only,) = response.json()["choices"]
    return dict(only)


async def request_chunks(**fields: Any) -> list[dict[str, Any]]:
    """Return the chunks of a streamed answer."""
    blocks = (await post_chat(stream=True, **fields)).text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


async def request_refusal(*args: Any, **fields: Any) -> str:
    """Return the name of the refused parameter."""
    response = await post_chat(*args, **fields)
    assert response.status_code == 400, response.text
    return str(response.json()["error"]["param"])


async def test_a_tool_is_called_if_the_models_name_requests_it() -> None:
    only = await request_choice(model="small?tool_calls=1", tools=[make_tool()])
    assert only["finish_reason"] == "tool_calls"
    assert only["message"]["content"] is None
    (called,) = only["message"]["tool_calls"]
    assert (called["type"], called["function"]["name"]) == ("function", "get_weather")
    assert json.loads(called["function"]["arguments"]) == {"city": "What is it like?"}


async def test_tools_that_are_only_offered_are_not_called() -> None:
    only = await request_choice(tools=[make_tool()])
    assert (only["finish_reason"], "tool_calls" in only["message"]) == ("stop", False)


@pytest.mark.parametrize(
    ("wanted", "called"),
    [
        ("required", ["one"]),
        ({"type": "function", "function": {"name": "two"}}, ["two"]),
    ],
)
async def test_a_tool_that_is_required_is_called(wanted: Any, called: list[str]) -> None:
    only = await request_choice(tools=[make_tool("one"), make_tool("two")], tool_choice=wanted)
    assert [each["function"]["name"] for each in only["message"]["tool_calls"]] == called


async def test_no_tool_is_called_if_the_request_forbids_it() -> None:
    only = await request_choice(model="small?tool_calls=1", tools=[make_tool()], tool_choice="none")
    assert only["finish_reason"] == "stop"


async def test_several_tools_are_called_unless_parallel_calls_are_off() -> None:
    fields: dict[str, Any] = {
        "model": "small?tool_calls=3",
        "tools": [make_tool("one"), make_tool("two")],
    }
    several = (await request_choice(**fields))["message"]["tool_calls"]
    assert [each["function"]["name"] for each in several] == ["one", "two", "one"]
    assert len({each["id"] for each in several}) == 3
    one = await request_choice(**fields, parallel_tool_calls=False)
    assert len(one["message"]["tool_calls"]) == 1


async def test_pieces_of_streamed_calls_join_to_the_arguments() -> None:
    received = await request_chunks(
        model="small?tool_calls=2", tools=[make_tool("one"), make_tool("two")]
    )
    first, *pieces, last = [chunk["choices"][0] for chunk in received]
    assert first["delta"] == {"role": "assistant", "content": None, "refusal": None}
    assert (last["delta"], last["finish_reason"]) == ({}, "tool_calls")
    joined: dict[int, str] = {}
    for piece in pieces:
        (delta,) = piece["delta"]["tool_calls"]
        assert ("id" in delta) == (delta["index"] not in joined)
        arguments = delta["function"]["arguments"]
        joined[delta["index"]] = joined.get(delta["index"], "") + arguments
    assert len(pieces) > 4
    assert [json.loads(each) for each in joined.values()] == [{"city": "What is it like?"}] * 2


async def test_the_pieces_of_calls_are_counted_as_tokens() -> None:
    fields = {"model": "small?tool_calls=1", "tools": [make_tool()]}
    received = await request_chunks(**fields, stream_options={"include_usage": True})
    pieces = [
        chunk for chunk in received if chunk["choices"] and "tool_calls" in str(chunk["choices"])
    ]
    assert received[-1]["usage"]["completion_tokens"] == len(pieces) - 1  # the last is the finish


def make_turns(*results: dict[str, Any]) -> Messages:
    """Return a conversation with two tool calls, followed by `results`."""
    calls = [
        {"id": name, "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        for name in ("call_1", "call_2")
    ]
    assistant = {"role": "assistant", "content": None, "tool_calls": calls}
    return [{"role": "user", "content": "How is it?"}, assistant, *results]


def make_result(name: str, text: str = "Sunny.") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": name, "content": text}


async def test_an_answer_after_tool_results_quotes_them() -> None:
    messages = make_turns(make_result("call_2"), make_result("call_1", "Rain."))
    only = await request_choice(messages, model="small?tool_calls=2", tools=[make_tool()])
    assert only["finish_reason"] == "stop"
    assert "A tool said “Sunny.”. A tool said “Rain.”." in only["message"]["content"]


@pytest.mark.parametrize(
    "messages",
    [
        make_turns(),
        make_turns(make_result("call_1")),
        make_turns(make_result("call_1"), {"role": "user", "content": "And?"}),
        make_turns(make_result("call_1"), make_result("call_1")),
        make_turns(make_result("call_1"), make_result("call_2"), make_result("call_3")),
        [make_result("call_1")],
    ],
)
async def test_a_tool_call_without_a_result_or_a_result_without_a_call_is_refused(
    messages: Messages,
) -> None:
    assert (await request_refusal(messages, tools=[make_tool()])).startswith("messages")


SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 5},
        "kind": {"enum": ["a", "b"]},
        "version": {"const": 2},
        "count": {"type": "integer", "minimum": 3},
        "share": {"type": "number"},
        "sure": {"type": "boolean"},
        "nothing": {"type": ["null", "string"]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 2},
    },
    "$defs": {"step": {"type": "object", "properties": {"sure": {"type": "boolean"}}}},
}


def make_schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "an_answer", "schema": schema}}


async def test_a_structured_answer_matches_its_schema() -> None:
    only = await request_choice(response_format=make_schema_format(SCHEMA))
    answer = json.loads(only["message"]["content"])
    assert len(answer.pop("title")) == 5
    assert answer == {
        "kind": "a",
        "version": 2,
        "count": 3,
        "share": 1.5,
        "sure": True,
        "nothing": None,
        "either": 7,
        "steps": [{"sure": True}] * 2,
    }


async def test_a_schema_may_contain_itself() -> None:
    inner = {"type": "array", "items": {"$ref": "#"}}
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "parts": inner}}
    only = await request_choice(response_format=make_schema_format(schema))
    assert json.loads(only["message"]["content"]).keys() == {"text", "parts"}


async def test_a_structured_answer_streams_like_any_other() -> None:
    form = make_schema_format(SCHEMA)
    text = (await request_choice(response_format=form))["message"]["content"]
    deltas = [chunk["choices"][0]["delta"] for chunk in await request_chunks(response_format=form)]
    assert "".join(delta.get("content", "") for delta in deltas) == text


async def test_without_a_schema_the_answer_is_some_json_object() -> None:
    only = await request_choice(response_format={"type": "json_object"})
    assert isinstance(json.loads(only["message"]["content"]), dict)


async def test_images_are_counted() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://pictures.test/1.png"}},
    ]
    only = await request_choice([{"role": "user", "content": parts}])
    assert "Pictures shown: 2." in only["message"]["content"]


async def test_an_answer_ends_before_a_stop_text() -> None:
    text = (await request_choice(model="small?tokens=40"))["message"]["content"]
    words = text.split()
    stopped = await request_choice(model="small?tokens=40", stop=["never said", words[20]])
    assert stopped["finish_reason"] == "stop"
    assert stopped["message"]["content"].rstrip() == text[: text.index(words[20])].rstrip()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("top_p", 2),
        ("frequency_penalty", "high"),
        ("tools", []),
        ("tool_choice", "auto"),
        ("parallel_tool_calls", True),
    ],
)
async def test_a_field_that_openai_refuses_is_refused_by_name(field: str, value: object) -> None:
    assert await request_refusal(**{field: value}) == field


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [make_tool("not a name")]}, "tools[...].function.name"),
        ({"tools": [{"type": "function"}]}, "tools[...]"),
        ({"tools": [make_tool()], "tool_choice": "maybe"}, "tool_choice"),
        (
            {
                "tools": [make_tool()],
                "tool_choice": {"type": "function", "function": {"name": "other"}},
            },
            "tool_choice",
        ),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
async def test_a_wrong_tool_or_format_is_named(fields: dict[str, Any], param: str) -> None:
    assert (await request_refusal(**fields)).replace("[0]", "[...]") == param


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": None},
        {"role": "user", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]},
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://a/b"}}]},
    ],
)
async def test_content_that_openai_refuses_is_refused(message: dict[str, Any]) -> None:
    assert await request_refusal([message]) == "messages[0].content"


async def test_a_ranking_has_different_values_and_points_are_within_their_bounds() -> None:
    labels = ["A", "B", "C", "D"]
    ranking = {
        "type": "array",
        "items": {"enum": labels},
        "minItems": 4,
        "uniqueItems": True,
    }
    point = {"type": "integer", "minimum": 0, "maximum": 10}
    schema = {"type": "object", "properties": {"ranking": ranking, "points": point}}
    choice = await request_choice(response_format=make_schema_format(schema))
    answer = json.loads(choice["message"]["content"])
    assert sorted(answer["ranking"]) == labels
    assert 0 <= answer["points"] <= 10
