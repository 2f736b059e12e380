"""The mock in the formats of model servers: the same answers, in the layout of each server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from service.errors import UpstreamError
from service.llm.decoding.body_format import FirstBytes, get_data
from service.llm.reply import Reply
from service.messages import join_tool_calls
from service.mock_llm.dialects.servers import DIALECTS
from service.mock_llm.reply import TokenPace
from service.mock_llm.text import split_tokens
from service.mock_llm.transport import MockLLM, MockTransport
from service.mock_llm.wire import Plan
from tests._support.llm.dialects import Exchange, read_exchanges
from tests._support.llm.scripted import Received, a_call, call_model

MAX_BYTES = 1_000_000
AT_ONCE = TokenPace(first_s=0, gap_s=0)
NAMES = sorted(DIALECTS)
WITH_FORM = [name for name in NAMES if DIALECTS[name].reasoning]
QUESTION = "Why is the sky blue?"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("get_weather", "get_time")
]
CORPUS = [each for each in read_exchanges() if each.server in DIALECTS]
STREAMS = [each for each in CORPUS if each.name == "stream"]
ERRORS = [
    each for each in CORPUS if each.status >= 400 and each.body.lstrip().startswith((b"{", b"["))
]
THOUGHTS_AND_CALLS = [
    each
    for each in CORPUS
    if each.status == 200 and b"data: {" in each.body and (each.calls or each.reasoning)
]
FAULTS = [
    "reset",
    "cut",
    "binary",
    "split_utf8",
    "crlf",
    "no_done",
    "double_done",
    "no_usage",
    "empty",
    "refuse",
]
each_dialect = pytest.mark.parametrize("name", NAMES)
streamed_or_not = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


def plan(options: str, **fields: Any) -> Plan:
    """Return the mock's response to a question, from a model with these options."""
    body = {"model": f"small?{options}", "messages": [{"role": "user", "content": QUESTION}]}
    return MockLLM(pace=AT_ONCE).respond(
        "POST", "/v1/chat/completions", json.dumps({**body, **fields}).encode()
    )


def body_of(options: str, **fields: Any) -> bytes:
    return b"".join(step.data for step in plan(options, **fields).steps)


def read(body: bytes) -> Reply:
    """Return the reply that the service's decoder reads. Raises UpstreamError."""
    reply, decoder = Reply.for_model("auto", "small"), FirstBytes(MAX_BYTES, MAX_BYTES)
    data = [get_data(event) for event in [*decoder.feed(body), *decoder.finish()]]
    for added in (reply.take(data, "small"), reply.finish("small")):
        if added.error:
            raise added.error
    return reply


def answer(options: str, **fields: Any) -> Reply:
    return read(body_of(options, **fields))


def list_paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each value in JSON that holds no further one."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from list_paths(each, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for each in value:
            yield from list_paths(each, f"{path}[]")
    else:
        yield path


def list_layouts(body: bytes) -> Sequence[frozenset[str]]:
    """Return the comments of a stream and the paths in its chunks; repetitions once."""
    layouts: list[frozenset[str]] = []
    for line in body.decode().split("\n"):
        if line.startswith("data: {"):
            layout = frozenset(list_paths(json.loads(line.removeprefix("data: "))))
        elif line.startswith(":"):
            layout = frozenset([line])
        else:
            continue
        if layouts[-1:] != [layout]:
            layouts.append(layout)
    return layouts


def test_each_dialect_has_responses_of_its_server() -> None:
    assert DIALECTS.keys() == {each.server for each in STREAMS}


@pytest.mark.parametrize("exchange", STREAMS, ids=[each.server for each in STREAMS])
def test_a_stream_has_the_chunks_of_its_server_in_their_order(exchange: Exchange) -> None:
    """A server's first delta may hold reasoning: a longer one then has one layout more."""
    reasoning = "" if exchange.reasoning else "&reasoning=0"
    options = f"dialect={exchange.server}{reasoning}"
    found = list_layouts(body_of(options, stream=True, stream_options={"include_usage": True}))
    expected = list_layouts(exchange.body)
    rest = iter(found)
    assert all(layout in rest for layout in expected), (found, expected)
    assert len(found) - len(expected) <= (1 if exchange.reasoning else 0)
    assert frozenset().union(*found) == frozenset().union(*expected)


@pytest.mark.parametrize(
    "exchange", THOUGHTS_AND_CALLS, ids=[each.id for each in THOUGHTS_AND_CALLS]
)
def test_reasoning_and_calls_have_the_deltas_of_their_server(exchange: Exchange) -> None:
    options, fields = f"dialect={exchange.server}", {}
    if exchange.calls:
        options, fields = f"{options}&reasoning=0&tool_calls=2", {"tools": TOOLS}
    if b"<th" in exchange.body:
        options += "&reasoning=tags"
    expected = list_deltas(exchange.body)
    found = list_deltas(body_of(options, stream=True, **fields))
    assert list_fields(found) == list_fields(expected)
    assert list_indexes(found) == list_indexes(expected)


def list_deltas(body: bytes) -> Sequence[dict[str, Any]]:
    lines = [line for line in body.decode().split("\n") if line.startswith("data: {")]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def list_fields(deltas: Sequence[dict[str, Any]]) -> set[str]:
    return {path for delta in deltas for path in list_paths(delta)}


def list_indexes(deltas: Sequence[dict[str, Any]]) -> set[int | None]:
    """Return the indexes of the tool calls; None for a call without one."""
    return {call.get("index") for delta in deltas for call in delta.get("tool_calls") or ()}


@pytest.mark.parametrize("exchange", ERRORS, ids=[each.id for each in ERRORS])
def test_an_error_has_the_fields_of_an_error_of_its_server(exchange: Exchange) -> None:
    def fields(body: bytes) -> frozenset[str]:
        paths = list_paths(json.loads(body))
        return frozenset(".".join(path.split(".")[:3]).split("[].msg")[0] for path in paths)

    options = f"dialect={exchange.server}&fault=status&status={exchange.status}"
    bodies = [each.body for each in CORPUS if each.server == exchange.server]
    known = [fields(each) for each in bodies if each.lstrip().startswith((b"{", b"["))]
    assert fields(body_of(options)) in known


@each_dialect
@streamed_or_not
def test_a_dialect_changes_no_word_of_the_answer(name: str, stream: bool) -> None:
    expected = answer("seed=1", stream=stream)
    for reasoning in ("", "&reasoning=0", "&reasoning=1", "&reasoning=tags"):
        reply = answer(f"seed=1&dialect={name}{reasoning}", stream=stream)
        assert reply.text == expected.text
        assert reply.finish_reason == expected.finish_reason == "stop"


@each_dialect
@streamed_or_not
def test_reasoning_is_sent_apart_from_the_answer_unless_it_is_off(name: str, stream: bool) -> None:
    thoughts = "The question is about the sky blue. A few sentences are enough."
    by_default = answer(f"dialect={name}", stream=stream).reasoning
    assert by_default == (thoughts if name in WITH_FORM else "")
    assert answer(f"dialect={name}&reasoning=0", stream=stream).reasoning == ""
    for reasoning in ("1", "tags"):
        reply = answer(f"dialect={name}&reasoning={reasoning}", stream=stream)
        assert reply.reasoning.strip() == thoughts


def test_tags_are_part_of_the_text_also_without_a_dialect() -> None:
    document = json.loads(body_of("reasoning=1"))
    assert document["choices"][0]["message"]["content"].startswith("<think>\nThe question is")


@each_dialect
@streamed_or_not
def test_usage_counts_the_question_the_answer_and_the_reasoning(name: str, stream: bool) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    reply = answer(f"dialect={name}&tokens=7", **options)
    assert reply.usage is not None
    assert reply.usage.input_tokens == len(QUESTION.split())
    assert reply.usage.output_tokens == 7 + len(split_tokens(reply.reasoning))


@each_dialect
@streamed_or_not
def test_usage_can_be_left_out_in_every_place(name: str, stream: bool) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    body = body_of(f"dialect={name}&fault=no_usage", **options)
    assert b"prompt_tokens" not in body
    assert read(body).usage is None


@each_dialect
@streamed_or_not
def test_each_tool_call_has_its_own_name_id_and_arguments(name: str, stream: bool) -> None:
    reply = answer(f"dialect={name}&tool_calls=2", stream=stream, tools=TOOLS)
    calls = join_tool_calls(reply.calls)
    assert [each.name for each in calls] == ["get_weather", "get_time"]
    assert [json.loads(each.arguments) for each in calls] == [{"city": QUESTION}] * 2
    assert len({each.id for each in calls}) == 2
    assert reply.finish_reason == "tool_calls"
    assert reply.text == ""


@each_dialect
@streamed_or_not
def test_a_token_limit_cuts_the_answer_off(name: str, stream: bool) -> None:
    reply = answer(f"dialect={name}&reasoning=0", stream=stream, max_tokens=5)
    assert len(split_tokens(reply.text)) == 5
    assert reply.finish_reason == "length"


@pytest.mark.parametrize("name", WITH_FORM)
def test_reasoning_counts_in_the_token_limit(name: str) -> None:
    reply = answer(f"dialect={name}", stream=True, max_tokens=3)
    assert (reply.text, reply.finish_reason) == ("", "length")
    assert reply.reasoning == "The question is"


@each_dialect
@streamed_or_not
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 502, 503])
async def test_the_sentence_of_an_error_reaches_the_caller(
    name: str, stream: bool, status: int
) -> None:
    call = a_call(f"small?dialect={name}&fault=status&status={status}", stream=stream)
    plain = a_call(f"small?fault=status&status={status}", stream=stream)
    errors = []
    for each in (call, plain):
        with pytest.raises(UpstreamError) as failure:
            await call_model(MockTransport(MockLLM(pace=AT_ONCE)), each)
        errors.append(failure.value)
    assert f"The mock answered {status}, as scripted" in errors[0].message
    assert errors[0].code == errors[1].code


@each_dialect
@streamed_or_not
async def test_an_error_within_an_answer_reaches_the_caller(name: str, stream: bool) -> None:
    received = Received()
    with pytest.raises(UpstreamError, match="The mock failed, as scripted") as failure:
        await call_model(
            MockTransport(MockLLM(pace=AT_ONCE)),
            a_call(f"small?dialect={name}&fault=error_object&after=2", stream=stream),
            received=received,
        )
    assert failure.value.code == "upstream_failed"
    assert len(split_tokens(received.text)) == (2 if stream else 0)


async def outcome(options: str, stream: bool) -> tuple[str, str]:
    """Return the text and the error's code that the service's client reads."""
    received = Received()
    try:
        await call_model(
            MockTransport(MockLLM(pace=AT_ONCE)),
            a_call(f"small?seed=1&{options}", stream=stream),
            received=received,
        )
    except UpstreamError as error:
        return received.text, error.code
    return received.text, ""


@each_dialect
@streamed_or_not
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_has_the_same_effect_in_each_dialect(
    name: str, stream: bool, fault: str
) -> None:
    options = f"fault={fault}&after=4"
    expected = await outcome(options, stream)
    assert await outcome(f"{options}&dialect={name}", stream) == expected


@each_dialect
async def test_garbage_in_a_stream_has_the_same_effect_in_each_dialect(name: str) -> None:
    expected = await outcome("fault=garbage&after=4", stream=True)
    assert await outcome(f"fault=garbage&after=4&dialect={name}", stream=True) == expected


@each_dialect
@streamed_or_not
def test_an_answer_without_text_is_complete(name: str, stream: bool) -> None:
    reply = answer(f"dialect={name}&fault=empty&reasoning=0", stream=stream)
    assert (reply.text, reply.finish_reason) == ("", "stop")


@pytest.mark.parametrize("name", ["deepseek", "openrouter"])
def test_comments_are_spread_over_the_wait_for_the_first_token(name: str) -> None:
    steps = plan(f"dialect={name}&first_ms=400&gap_ms=0", stream=True).steps
    assert [step.data[:2] for step in steps[:3]] == [b": ", b": ", b"da"]
    assert sum(step.delay_s for step in steps) == pytest.approx(0.4)
    assert steps[0].delay_s == steps[1].delay_s > 0


@each_dialect
def test_a_stream_takes_as_long_as_its_tokens(name: str) -> None:
    options = f"dialect={name}&first_ms=500&gap_ms=100&tokens=4&reasoning=0"
    steps = plan(options, stream=True).steps
    assert sum(step.delay_s for step in steps) == pytest.approx(0.8)
    whole = plan(options)
    assert whole.wait_s == pytest.approx(0.8)


@pytest.mark.parametrize("options", ["dialect=claude", "dialect=", "dialect=Mistral"])
def test_an_unknown_dialect_is_refused_with_the_names_of_all(options: str) -> None:
    refusal = plan(options)
    assert refusal.status == 400
    message = json.loads(body_of(options))["error"]["message"]
    assert ", ".join(NAMES) in message
