"""The format of a response's body, which its first bytes decide."""

from __future__ import annotations

import pytest

from service.errors import BadStream
from service.llm.decoding.body_format import FirstBytes


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("start", [b'{"a": 1}\n', b"data: 1\n\n"])
def test_blanks_before_the_first_content_are_ignored(blank: bytes, start: bytes) -> None:
    decoder = FirstBytes(1000, 1000)
    assert not decoder.feed(blank)
    events = [*decoder.feed(start), *decoder.finish()]
    assert len(events) == 1


def test_a_start_of_blanks_only_is_limited_like_a_body() -> None:
    decoder = FirstBytes(1000, 1000)
    for _ in range(100):
        assert not decoder.feed(b"\n" * 10)
    with pytest.raises(BadStream, match="blank"):
        decoder.feed(b"\n" * 10)
