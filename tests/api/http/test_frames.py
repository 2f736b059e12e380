"""Server-sent events as text: what a client parses is what was encoded."""

from __future__ import annotations

import json

import pytest

from service.api.http.frames import DONE, encode_event, encode_lines, encode_text
from service.llm.sse_decoder import SSEDecoder


def _parse(text: str) -> list[str]:
    return [event.data.decode() for event in SSEDecoder().feed(text.encode())]


def test_an_event_has_its_fields_in_one_order() -> None:
    event = encode_event('{"a": 1}', name="message", event_id="run_1-2")
    assert event == 'id: run_1-2\nevent: message\ndata: {"a": 1}\n\n'


def test_an_event_without_name_and_id_is_a_data_line() -> None:
    assert encode_event("{}") == "data: {}\n\n"
    assert DONE == "data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (" a", " a"),
        ("a\nb", "a\nb"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("data: x\n\nevent: y", "data: x\n\nevent: y"),
        ("a\u2028b\u0085c", "a\u2028b\u0085c"),
    ],
)
def test_any_text_remains_the_data_of_one_event(text: str, data: str) -> None:
    assert _parse(encode_lines(text)) == [data]


def test_a_text_is_encoded_as_json_dumps_encodes_it_in_ascii() -> None:
    texts = ["".join(map(chr, range(start, start + 4096))) for start in range(0, 0x110000, 4096)]
    for text in (*texts, "\ud800", "\udc00\ud800", "\r\n", '"\\/', ""):
        encoded = encode_text(text)
        assert encoded == json.dumps(text)
        assert encoded.isascii()
        assert not set(encoded) & {"\r", "\n"}
