"""Answers among any JSON in the fields that do not decide, split at any byte."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.llm.decoding.body_format import FirstBytes, get_data
from service.llm.reply import Reply

_TEXT = st.text(st.characters(), max_size=12)  # lone surrogates and NUL too
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | _TEXT
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_OF_CHUNK = ("id", "object", "created", "model", "usage", "system_fingerprint", "x_groq", "note")
_OF_CHOICE = ("index", "logprobs", "usage", "native_finish_reason", "content_filter_results")
_OF_DELTA = (
    "role", "audio", "annotations", "reasoning", "reasoning_content", "reasoning_details",
    "thinking", "thoughts", "extra_content", "refusal_details",
)  # fmt: skip


def _fields(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, _JSON))


_NOISE = st.sampled_from([b"null", b"[]", b"0", b'"ping"', b"ping", b"{}", b"true", b""])
_ANSWER = ("Four", " is", " the <answer>", " to [it].")


@st.composite
def _streams(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a stream that has _ANSWER as its text."""
    events: list[bytes] = []
    for text in _ANSWER:
        events += draw(st.lists(_NOISE, max_size=2))
        delta = {**draw(_fields(_OF_DELTA)), "content": text}
        choice = {**draw(_fields(_OF_CHOICE)), "delta": delta}
        chunk = {**draw(_fields(_OF_CHUNK)), "choices": [choice]}
        events.append(json.dumps(chunk).encode())
    end = {"choices": [{**draw(_fields(_OF_CHOICE)), "delta": {}, "finish_reason": "stop"}]}
    events.append(json.dumps(end).encode())
    events += draw(st.lists(_NOISE, max_size=2))
    return b"".join(b"data: %b\n\n" % each for each in events)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_json_beside_an_answer_leaves_it_whole(data: st.DataObject) -> None:
    body = data.draw(_streams())
    size = data.draw(st.integers(1, 40))
    decoder, reply = FirstBytes(2**28, 2**23), Reply()
    blocks = [body[at : at + size] for at in range(0, len(body), size)]
    events = [event for block in blocks for event in decoder.feed(block)] + decoder.finish()
    for event in events:
        assert reply.take([get_data(event)], "model").error is None
    assert reply.finish("model").error is None
    assert (reply.text, reply.finish_reason) == ("".join(_ANSWER), "stop")
    usage = reply.usage
    assert usage is None or (usage.input_tokens > 0 and usage.output_tokens > 0)
    reply.reasoning.encode()


@settings(max_examples=150, deadline=None)
@given(fields=_fields(_OF_CHUNK), choice=_fields(_OF_CHOICE), message=_fields(_OF_DELTA))
def test_any_json_beside_an_answer_that_is_not_streamed_leaves_it_whole(
    fields: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]
) -> None:
    whole = {**choice, "message": {**message, "content": "Four."}, "finish_reason": "length"}
    reply = Reply()
    added = reply.take([json.dumps({**fields, "choices": [whole]}).encode()], "model")
    assert (added.text, added.error) == ("Four.", None)
    assert reply.finish("model").error is None
    assert reply.finish_reason == "length"


@settings(max_examples=150, deadline=None)
@given(value=_JSON)
def test_any_json_as_content_is_text_or_a_failure_but_never_a_crash(value: Any) -> None:
    delta = {"content": value, "tool_calls": value, "function_call": value, "reasoning": value}
    chunk = {"choices": [{"delta": delta, "finish_reason": value, "error": None}]}
    reply = Reply()
    reply.take([json.dumps(chunk).encode(), json.dumps(value).encode()], "model")
    reply.finish("model")
    (reply.text + reply.reasoning).encode()
    json.dumps([call.extra for call in reply.calls]).encode()
