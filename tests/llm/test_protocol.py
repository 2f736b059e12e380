"""The chat protocol as data: requests, chunks, errors."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from service.domain import Message, ToolCall, Usage
from service.errors import BadStream, UpstreamBusy, UpstreamError, UpstreamFailed, UpstreamRefused
from service.llm.failures import make_status_error, make_stream_error, parse_retry_after_s
from service.llm.protocol import MAX_ANSWER_CHARS, Reply
from tests._support.llm.scripted import a_call


def _body(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(a_call("gpt-4o", **changes).body())
    return body


def _reply(*chunks: object) -> Reply:
    reply = Reply()
    reply.take([json.dumps(chunk).encode() for chunk in chunks], "gpt-4o")
    return reply


def _delta(**delta: object) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta}]}


# --- requests ---


def test_what_the_caller_chose_wins_over_how_the_agent_is_set_up() -> None:
    body = _body(
        temperature=0.9, extra_body={"seed": 1, "top_k": 5}, options={"temperature": 0, "seed": 2}
    )
    assert (body["temperature"], body["seed"], body["top_k"]) == (0, 2, 5)


def test_a_message_that_is_more_than_its_text_goes_out_whole() -> None:
    whole = {"role": "tool", "tool_call_id": "call_1", "content": "Rain"}
    assert _body(messages=[Message("tool", "Rain", json.dumps(whole))])["messages"] == [whole]


# --- tool calls ---


def _called(index: int | None, arguments: str, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    place = {} if index is None else {"index": index}
    return {**place, **more, "function": {**name, "arguments": arguments}}


def test_pieces_of_tool_calls_are_kept_in_their_order() -> None:
    reply = _reply(
        _delta(content=None, tool_calls=[_called(0, "", id="call_1", name="weather")]),
        _delta(tool_calls=[_called(0, '{"city":'), _called(1, "{}", id="call_2", name="time")]),
        _delta(tool_calls=[_called(0, ' "Oslo"}')]),
    )
    assert reply.calls == [
        ToolCall(0, "call_1", "weather", ""),
        ToolCall(0, arguments='{"city":'),
        ToolCall(1, "call_2", "time", "{}"),
        ToolCall(0, arguments=' "Oslo"}'),
    ]
    assert (reply.text, reply.signs_of_life) == ("", 3)


def test_calls_of_a_whole_answer_are_numbered_by_their_place() -> None:
    called = [_called(None, "{}", id=f"call_{n}", name="f", type="function") for n in (1, 2)]
    reply = _reply({"choices": [{"message": {"content": "Let me see.", "tool_calls": called}}]})
    assert [(call.index, call.id) for call in reply.calls] == [(0, "call_1"), (1, "call_2")]
    assert reply.text == "Let me see."


def test_halves_of_a_character_in_two_pieces_of_arguments_are_joined() -> None:
    reply = _reply(
        _delta(tool_calls=[_called(0, '"\ud83d', id="1", name="f"), _called(1, "\ud83d")]),
        _delta(tool_calls=[_called(0, '\ude00"'), _called(1, "\ude4f")]),
    )
    arguments = ["".join(each.arguments for each in reply.calls if each.index == n) for n in (0, 1)]
    assert arguments == ['"😀"', "🙏"]


def test_a_half_character_that_a_call_ends_with_is_replaced() -> None:
    reply = _reply(
        _delta(tool_calls=[_called(0, "x\ud83d", id="\ude00", name="\ud83df")]),
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    )
    assert reply.calls == [ToolCall(0, "\ufffd", "\ufffdf", "x"), ToolCall(0, arguments="\ufffd")]


def test_calls_count_towards_what_an_answer_may_be_at_most() -> None:
    with pytest.raises(BadStream):
        _reply(_delta(tool_calls=[_called(0, "x" * (MAX_ANSWER_CHARS + 1))]))


def test_to_refuse_is_an_answer() -> None:
    assert _reply(_delta(refusal="I will not.")).text == "I will not."


# --- what a request says ---


def test_a_request_carries_the_messages_in_their_order() -> None:
    said = [Message("system", "Be brief."), Message("user", "Hi")]
    assert _body(messages=said)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_a_streamed_request_asks_for_its_usage() -> None:
    assert _body()["stream_options"] == {"include_usage": True}


def test_a_whole_request_has_no_stream_options() -> None:
    body = _body(stream=False)
    assert body["stream"] is False
    assert "stream_options" not in body


def test_openai_is_told_its_limit_under_the_new_name() -> None:
    body = _body(provider="openai", max_tokens=7)
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


def test_other_servers_are_told_their_limit_under_the_old_name() -> None:
    assert _body(provider="groq", max_tokens=7)["max_tokens"] == 7


def test_what_is_not_set_is_not_sent() -> None:
    assert not {"temperature", "top_p"} & set(_body())


def test_zero_is_a_temperature() -> None:
    assert _body(temperature=0.0)["temperature"] == 0


def test_extra_fields_are_sent_and_win() -> None:
    body = _body(extra_body={"reasoning_effort": "low", "max_tokens": 5})
    assert (body["reasoning_effort"], body["max_tokens"]) == ("low", 5)


# --- chunks ---


def test_the_text_of_a_reply_is_that_of_its_chunks() -> None:
    assert _reply(_delta(content="Hel"), _delta(content="lo")).text == "Hello"


def test_a_whole_answer_is_taken_like_a_chunk() -> None:
    reply = _reply({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})
    assert (reply.text, reply.finish_reason) == ("Hi", "stop")


def test_done_is_done() -> None:
    reply = Reply()
    reply.take([b"[DONE]"], "gpt-4o")
    assert reply.done


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"role": "assistant"}}]},
        {"choices": [{"delta": {"content": None}}]},
        {"choices": [], "prompt_filter_results": [{"anything": 1}]},
        {"error": None, "choices": []},
    ],
)
def test_chunks_without_text_say_nothing_and_do_no_harm(chunk: object) -> None:
    reply = _reply(chunk)
    assert (reply.text, reply.signs_of_life) == ("", 0)


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning"])
def test_any_token_is_a_sign_of_life(field: str) -> None:
    assert _reply(_delta(**{field: "x"})).signs_of_life == 1


def test_only_the_first_choice_counts() -> None:
    two = {"choices": [{"delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]}
    assert _reply(two).text == "a"


def test_usage_without_details_has_no_cached_or_reasoning_tokens() -> None:
    reply = _reply({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": None}})
    assert reply.usage == Usage(3, 0)


def test_usage_told_several_times_counts_as_last_told() -> None:
    said = [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": n}} for n in (1, 9)]
    assert _reply(*said).usage == Usage(3, 9)


@pytest.mark.parametrize(
    "data",
    [
        b"{oops",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"choices": [{"delta": {"content": "\xff"}}]}',
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'{"choices": {"0": {}}}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_a_chunk_is_a_bad_stream(data: bytes) -> None:
    with pytest.raises(BadStream):
        Reply().take([data], "gpt-4o")


def test_an_answer_beyond_every_measure_is_refused() -> None:
    with pytest.raises(BadStream, match="characters"):
        _reply(_delta(content="x" * (MAX_ANSWER_CHARS + 1)))


def test_what_came_before_an_error_object_is_kept() -> None:
    reply = Reply()
    chunks = [json.dumps(_delta(content="Hi")).encode(), b'{"error": {"message": "no"}}']
    with pytest.raises(UpstreamFailed):
        reply.take(chunks, "gpt-4o")
    assert reply.text == "Hi"


# --- errors ---


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x", "code": "rate_limit_exceeded"}, UpstreamBusy),
        ({"message": "x", "type": "overloaded_error"}, UpstreamBusy),
        ({"message": "x", "type": "invalid_request_error", "code": None}, UpstreamRefused),
        ({"message": "x", "code": "context_length_exceeded"}, UpstreamRefused),
        ({"message": "x", "code": 500}, UpstreamFailed),
        ({"message": ["not", "text"]}, UpstreamFailed),
        ("just a sentence", UpstreamFailed),
        (["odd"], UpstreamFailed),
    ],
)
def test_an_error_objects_code_says_what_kind_of_failure_it_is(
    error: object, kind: type[UpstreamError]
) -> None:
    assert type(make_stream_error(error, "gpt-4o")) is kind


def test_an_error_object_without_a_reason_says_so() -> None:
    assert make_stream_error({}, "gpt-4o").message == "gpt-4o reported an error: no reason given"


def test_a_5xx_is_the_servers_fault_whatever_it_says() -> None:
    body = b'{"error": {"message": "x", "type": "invalid_request_error"}}'
    assert type(make_status_error(500, {}, body, "gpt-4o")) is UpstreamFailed


@pytest.mark.parametrize("body", [b"", b"null", b"[1]", b'"x"', b"\xff", b'{"error": "x"}'])
def test_any_error_body_makes_an_error(body: bytes) -> None:
    assert isinstance(make_status_error(400, {}, body, "gpt-4o"), UpstreamRefused)


# --- Retry-After ---


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"retry-after-ms": "-5"}, 0),
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after-ms": "x"}, None),
    ],
)
def test_retry_after_is_seconds_milliseconds_or_a_date(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert parse_retry_after_s(headers) == seconds


def test_a_date_to_come_is_that_many_seconds_away() -> None:
    waits = parse_retry_after_s({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert waits == pytest.approx(60, abs=5)


@pytest.mark.parametrize("done", [b"[DONE]", b"[DONE] ", b"  [DONE]"])
def test_blanks_around_the_end_marker_do_not_matter(done: bytes) -> None:
    reply = Reply()
    reply.take([done], "gpt-4o")
    assert reply.done


def test_an_event_without_any_data_is_no_fault() -> None:
    reply = Reply()
    reply.take([b"", b" "], "gpt-4o")
    assert not reply.done
