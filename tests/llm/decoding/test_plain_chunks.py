"""Chunks that are recognized by the bytes around their text mean the same as their JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.llm.decoding.chunk_json import decode_chunk
from service.llm.decoding.plain_chunks import FoundText, PlainChunks

SHAPES = [
    '{"id":"c","choices":[{"index":0,"delta":{"content":%s},"finish_reason":null}]}',
    '{"choices": [{"delta": {"role": "assistant", "content": %s}}], "created": 5}',
    '{"choices":[{"finish_reason":null,"delta":{"content" : %s},"logprobs":null}],"id":"contents"}',
]


def _event(shape: str, text: str, *, is_ascii: bool = False) -> bytes:
    return b"data: " + (shape % json.dumps(text, ensure_ascii=is_ascii)).encode(
        "utf-8", "surrogatepass"
    )


def _block(*events: bytes) -> bytes:
    return b"".join(event + b"\n\n" for event in events)


def _known(shape: str, text: str = "known") -> PlainChunks:
    plain = PlainChunks()
    plain.learn(_event(shape, text).removeprefix(b"data: "), text)
    assert plain.is_known
    return plain


@pytest.mark.parametrize("shape", SHAPES)
@given(texts=st.lists(st.text(min_size=1), min_size=1, max_size=4), is_ascii=st.booleans())
def test_a_text_is_that_of_the_json_or_unknown(
    shape: str, texts: list[str], is_ascii: bool
) -> None:
    plain = _known(shape)
    events = [_event(shape, text, is_ascii=is_ascii) for text in texts]
    block = _block(*events)
    found = plain.read(block)
    assert found in (None, FoundText("".join(texts), len(texts), len(block)))
    assert found or not all(text.isprintable() for text in texts)


@given(middle=st.binary(min_size=1, max_size=12) | st.text('"\\{}:,u0ab\n').map(str.encode))
def test_bytes_that_are_no_json_string_are_never_a_text(middle: bytes) -> None:
    before, after = SHAPES[0].split("%s")
    data = before.encode() + b'"' + middle + b'"' + after.encode()
    found = _known(SHAPES[0]).read(_block(b"data: " + data))
    if found is not None:
        # The lenient decoder also reads control characters, which strict JSON refuses.
        value = json.loads(data.decode(), strict=False)
        assert found.text == value["choices"][0]["delta"]["content"]


def test_quotes_and_escapes_in_a_text_are_decoded() -> None:
    texts = ['a "b"\n', "\\", "é\u2028"]
    plain = _known(SHAPES[1])
    found = plain.read(_block(*(_event(SHAPES[1], text) for text in texts)))
    assert found is not None
    assert found.text == "".join(texts)


@pytest.mark.parametrize(
    "event",
    [
        _event(SHAPES[0], ""),
        _event(SHAPES[1], "x"),
        _event(SHAPES[0], "x").replace(b"null", b'"stop"'),
        _event(SHAPES[0], "x").replace(b'"c"', b'"d"'),
        _event(SHAPES[0], "x").replace(b'"x"', b'"x","tool_calls":[]'),
        _event(SHAPES[0], "x").replace(b'"x"', b'"x\ny"'),
        _event(SHAPES[0], "x").replace(b'"x"', b'"\xff"'),
        _event(SHAPES[0], "x").replace(b'"x"', rb'"\ud83d"'),
        _event(SHAPES[0], "x").replace(b'"x"', b'"'),
        b"data: [DONE]",
        b": ping",
        b"",
    ],
)
def test_an_event_with_any_other_difference_is_not_recognized(event: bytes) -> None:
    plain, known = _event(SHAPES[0], "x"), _known(SHAPES[0])
    assert known.read(_block(event)) is None
    assert known.read(_block(event, plain)) is None
    assert known.read(_block(plain, event, plain)) is None
    assert known.read(_block(plain, event)) in (None, FoundText("x", 1, len(_block(plain))))


@pytest.mark.parametrize("rest", [b"data: [DONE]\n\n", b"data: {", b": ping\n\n", b"\n"])
def test_events_before_another_one_are_recognized(rest: bytes) -> None:
    plain = _block(_event(SHAPES[0], "x"), _event(SHAPES[0], "y"))
    assert _known(SHAPES[0]).read(plain + rest) == FoundText("xy", 2, len(plain))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ('{"choices":[{"delta":{"content":"x"}}],"x":{"content":"x"}}', "x"),
        ('{"choices":[{"delta":{"content":"\\u0078"}}]}', "x"),
        ('{"choices":[{"delta":{"other":"x"}}]}', "x"),
        ('{"choices":[\n{"delta":{"content":"x"}}]}', "x"),
    ],
)
def test_the_place_of_a_text_that_is_not_certain_is_not_remembered(data: str, text: str) -> None:
    plain = PlainChunks()
    plain.learn(data.encode(), text)
    assert not plain.is_known


def test_a_server_with_other_bytes_in_each_chunk_is_given_up() -> None:
    plain = PlainChunks()
    for number in range(20):
        data = b'{"choices":[{"delta":{"content":"x"}}],"obfuscation":"%d"}' % number
        assert decode_chunk(data).get_plain_text() == "x"
        plain.learn(data, "x")
    assert plain.read(_block(b"data: " + data)) is None
