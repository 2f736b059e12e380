"""The reply of the chat protocol: text, tool calls, usage and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.domain import ToolCall, Usage
from service.errors import BadStream, UpstreamFailed
from service.llm.decoding.content import MAX_ANSWER_CHARS, Added
from service.llm.reply import Reply


def _encode(*chunks: object) -> list[bytes]:
    return [json.dumps(chunk).encode() for chunk in chunks]


def _read(*chunks: object) -> Reply:
    """Return the reply that consists of `chunks`."""
    reply = Reply()
    added = reply.take(_encode(*chunks), "gpt-4o")
    assert added.error is None
    return reply


def _delta(**delta: object) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta}]}


# --- text ---


def test_a_refusal_is_an_answer() -> None:
    assert _read(_delta(refusal="I will not.")).text == "I will not."


def test_the_text_of_a_reply_joins_its_chunks() -> None:
    assert _read(_delta(content="Hel"), _delta(content="lo")).text == "Hello"


def test_an_unstreamed_answer_is_read_like_a_chunk() -> None:
    reply = _read({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})
    assert (reply.text, reply.finish_reason) == ("Hi", "stop")


def test_the_end_marker_completes_the_reply() -> None:
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
def test_chunks_without_text_add_nothing(chunk: object) -> None:
    reply = _read(chunk)
    assert (reply.text, reply.token_chunks) == ("", 0)


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning"])
def test_tokens_of_text_and_of_reasoning_are_counted(field: str) -> None:
    assert _read(_delta(**{field: "x"})).token_chunks == 1


def test_only_the_first_choice_counts() -> None:
    two = {"choices": [{"delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]}
    assert _read(two).text == "a"


def test_usage_without_details_has_no_cached_or_reasoning_tokens() -> None:
    reply = _read({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": None}})
    assert reply.usage == Usage(3, 0)


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}},
        {"choices": [{"delta": {}, "usage": {"prompt_tokens": 3, "completion_tokens": 9}}]},
        {"choices": [], "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 9}}},
    ],
)
def test_the_usage_is_found_where_servers_put_it(chunk: object) -> None:
    assert _read(_delta(content="Hi"), chunk).usage == Usage(3, 9)


@pytest.mark.parametrize(
    "later",
    [{}, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": -1}, [], "none", 7],
)
def test_a_usage_that_cannot_be_true_never_replaces_a_good_one(later: object) -> None:
    good = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}
    chunks = [_delta(content="Hi"), good, {"choices": [], "usage": later}]
    assert _read(*chunks).usage == Usage(3, 9)


# --- ends ---


def _end(reason: object, **delta: object) -> dict[str, Any]:
    return {"choices": [{"delta": delta, "finish_reason": reason}]}


def test_a_reason_that_every_chunk_repeats_ends_nothing_while_text_follows() -> None:
    reply = _read(_end("stop", content="a"), _end("stop", content="b"), _end("length", content="c"))
    assert (reply.text, reply.finish_reason) == ("abc", "length")


def test_an_error_after_the_end_is_ignored_unless_text_has_followed_it() -> None:
    error = {"error": {"message": "late"}}
    assert _read(_delta(content="a"), _end("stop"), error).text == "a"
    reply = Reply()
    added = reply.take(_encode(_end("stop", content="a"), _delta(content="b"), error), "gpt-4o")
    assert isinstance(added.error, UpstreamFailed)


def test_the_sentence_of_an_error_replaces_the_reason_that_announced_it() -> None:
    reply = Reply()
    reply.take(_encode(_end("error", content="a"), {"error": {"message": "GPU lost"}}), "gpt-4o")
    failure = reply.finish("gpt-4o").error
    assert isinstance(failure, UpstreamFailed)
    assert "GPU lost" in failure.message


@pytest.mark.parametrize(
    "document",
    [
        {"object": "error", "message": "Nope.", "code": 400},
        {"message": "Nope."},
        {"detail": "Nope."},
        {"choices": None, "base_resp": {"status_code": 1004, "status_msg": "Nope."}},
        [{"error": {"message": "Nope."}}],
    ],
)
def test_an_error_in_any_form_is_reported_in_its_own_sentence(document: object) -> None:
    reply = Reply()
    error = reply.take(_encode(document), "gpt-4o").error or reply.finish("gpt-4o").error
    assert error is not None
    assert "Nope." in error.message


def test_the_last_of_several_usages_counts() -> None:
    chunks = [
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": n}} for n in (1, 9)
    ]
    assert _read(*chunks).usage == Usage(3, 9)


@pytest.mark.parametrize(
    "data",
    [
        b"{oops",
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'{"choices": [{"delta": {"content": true}}]}',
        b"[" * 100_000,
    ],
)
def test_damaged_json_and_content_that_is_no_text_are_a_bad_stream(data: bytes) -> None:
    assert isinstance(Reply().take([data], "gpt-4o").error, BadStream)


@pytest.mark.parametrize(
    "data",
    [b"null", b"[]", b'"text"', b"0", b"ping", b"\xff\xfe", b'{"choices": {"0": {}}}', b"{}"],
)
def test_data_without_anything_that_decides_is_ignored(data: bytes) -> None:
    reply = Reply()
    added = reply.take([data, *_encode(_delta(content="Hi"))], "gpt-4o")
    assert (added.text, added.error) == ("Hi", None)


def test_bytes_that_are_not_utf_8_become_replacement_characters() -> None:
    reply = Reply()
    reply.take([b'{"choices": [{"delta": {"content": "a\xffb"}}]}'], "gpt-4o")
    assert reply.text == "a\ufffdb"


def test_an_answer_above_the_limit_is_refused() -> None:
    error = Reply().take(_encode(_delta(content="x" * (MAX_ANSWER_CHARS + 1))), "gpt-4o").error
    assert isinstance(error, BadStream)
    assert "characters" in error.message


def test_text_before_an_error_object_is_retained() -> None:
    reply = Reply()
    chunks = _encode(_delta(content="Hi"), {"error": {"message": "no"}}, _delta(content="there"))
    added = reply.take(chunks, "gpt-4o")
    assert isinstance(added.error, UpstreamFailed)
    assert (reply.text, added.text) == ("Hi", "Hi")


def test_taking_chunks_returns_the_added_content_only() -> None:
    reply = Reply()
    call = _call_piece(0, "{}", id="call_1", name="time")
    added = [
        reply.take(_encode(_delta(content="a"), _delta(content="b")), "gpt-4o"),
        reply.take(_encode(_delta(content="c"), _delta(tool_calls=[call])), "gpt-4o"),
        reply.take(_encode(_delta(reasoning="Hm.")), "gpt-4o"),
        reply.take(_encode(_delta()), "gpt-4o"),
    ]
    assert added == [
        Added("ab", (), has_tokens=True, error=None),
        Added("c", (ToolCall(0, "call_1", "time", "{}"),), has_tokens=True, error=None),
        Added("", (), has_tokens=True, error=None, reasoning="Hm."),
        Added("", (), has_tokens=False, error=None),
    ]
    assert reply.text == "abc"


@pytest.mark.parametrize("done", [b"[DONE]", b"[DONE] ", b"  [DONE]"])
def test_spaces_around_the_end_marker_are_ignored(done: bytes) -> None:
    reply = Reply()
    reply.take([done], "gpt-4o")
    assert reply.done


def test_an_event_without_data_is_ignored() -> None:
    reply = Reply()
    reply.take([b"", b" "], "gpt-4o")
    assert not reply.done


# --- tool calls ---


def _call_piece(index: int | None, arguments: str, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    place = {} if index is None else {"index": index}
    return {**place, **more, "function": {**name, "arguments": arguments}}


def test_pieces_of_tool_calls_stay_in_order() -> None:
    reply = _read(
        _delta(content=None, tool_calls=[_call_piece(0, "", id="call_1", name="weather")]),
        _delta(
            tool_calls=[_call_piece(0, '{"city":'), _call_piece(1, "{}", id="call_2", name="time")]
        ),
        _delta(tool_calls=[_call_piece(0, ' "Oslo"}')]),
    )
    assert reply.calls == [
        ToolCall(0, "call_1", "weather", ""),
        ToolCall(0, arguments='{"city":'),
        ToolCall(1, "call_2", "time", "{}"),
        ToolCall(0, arguments=' "Oslo"}'),
    ]
    assert (reply.text, reply.token_chunks) == ("", 3)


def test_calls_of_an_unstreamed_answer_are_numbered_by_position() -> None:
    calls = [_call_piece(None, "{}", id=f"call_{n}", name="f", type="function") for n in (1, 2)]
    reply = _read({"choices": [{"message": {"content": "Let me see.", "tool_calls": calls}}]})
    assert [(call.index, call.id) for call in reply.calls] == [(0, "call_1"), (1, "call_2")]
    assert reply.text == "Let me see."


def test_surrogates_in_two_pieces_of_arguments_are_joined() -> None:
    reply = _read(
        _delta(tool_calls=[_call_piece(0, '"\ud83d', id="1", name="f"), _call_piece(1, "\ud83d")]),
        _delta(tool_calls=[_call_piece(0, '\ude00"'), _call_piece(1, "\ude4f")]),
    )
    arguments = ["".join(each.arguments for each in reply.calls if each.index == n) for n in (0, 1)]
    assert arguments == ['"😀"', "🙏"]


def test_a_lone_surrogate_at_the_end_of_a_tool_call_is_replaced() -> None:
    reply = _read(
        _delta(tool_calls=[_call_piece(0, "x\ud83d", id="\ude00", name="\ud83df")]),
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    )
    reply.finish("gpt-4o")
    assert reply.calls == [ToolCall(0, "\ufffd", "\ufffdf", "x"), ToolCall(0, arguments="\ufffd")]


def test_tool_calls_count_towards_the_limit_of_an_answer() -> None:
    chunk = _delta(tool_calls=[_call_piece(0, "x" * (MAX_ANSWER_CHARS + 1))])
    assert isinstance(Reply().take(_encode(chunk), "gpt-4o").error, BadStream)


def test_pieces_of_a_call_that_arrive_together_are_one_piece() -> None:
    pieces = [_call_piece(0, text, id="call_1", name="time") for text in ("{", '"a":', "1}")]
    added = Reply().take(_encode(*(_delta(tool_calls=[each]) for each in pieces)), "gpt-4o")
    assert added.calls == (ToolCall(0, "call_1", "time", '{"a":1}'),)


def test_empty_pieces_of_a_call_are_limited_too() -> None:
    chunk = _encode(_delta(tool_calls=[_call_piece(0, "", id="call_1", name="time")]))
    reply = Reply()
    errors = (reply.take(chunk * 10_000, "gpt-4o").error for _ in range(100))
    assert any(isinstance(each, BadStream) for each in errors)


def test_a_large_document_of_broken_surrogate_pairs_is_refused() -> None:
    data = b'{"choices":[{"message":{"content":"' + b"\\ud83d" * 1_000_000 + b'"}}]}'
    assert isinstance(Reply().take([data], "gpt-4o").error, BadStream)


def test_only_the_first_of_very_many_choices_is_decoded() -> None:
    choices = b'{"message":{"content":"Hi"}}' + b",{}" * 2_000_000
    assert Reply().take([b'{"choices":[' + choices + b"]}"], "gpt-4o").text == "Hi"
