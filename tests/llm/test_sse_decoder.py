"""The decoder with the examples of the standard, split at every byte.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from itertools import combinations

import pytest

from service.errors import BadStream
from service.llm.sse_decoder import ServerEvent, SSEDecoder

# Streams and their events. Those named "standard" are the examples of the standard.
EXAMPLES: dict[str, tuple[bytes, list[ServerEvent]]] = {
    "standard: messages": (
        b"data: This is the first.\n\ndata: The 2nd, it\ndata: has two lines.\n\ndata: Third.\n\n",
        [
            ServerEvent(b"This is the first."),
            ServerEvent(b"The 2nd, it\nhas two lines."),
            ServerEvent(b"Third."),
        ],
    ),
    "standard: named events": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        [
            ServerEvent(b"73857293", "add"),
            ServerEvent(b"2153", "remove"),
            ServerEvent(b"113411", "add"),
        ],
    ),
    "standard: three lines": (
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        [ServerEvent(b"YHOO\n+2\n10")],
    ),
    "standard: comments and ids": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second\nid\n\ndata:  third event\n\n",
        [
            ServerEvent(b"first event", id="1"),
            ServerEvent(b"second"),
            ServerEvent(b" third event"),
        ],
    ),
    "standard: empty data": (
        b"data\n\ndata\ndata\n\n",
        [ServerEvent(b""), ServerEvent(b"\n")],
    ),
    "standard: one space is stripped": (
        b"data:test\n\ndata: test\n\n",
        [ServerEvent(b"test"), ServerEvent(b"test")],
    ),
    "an id holds until the next": (
        b"id: 7\ndata: a\n\ndata: b\n\nid: 8\n\ndata: c\n\n",
        [ServerEvent(b"a", id="7"), ServerEvent(b"b", id="7"), ServerEvent(b"c", id="8")],
    ),
    "an id with NUL is ignored": (
        b"id: 7\ndata: a\n\nid: 8\0\ndata: b\n\n",
        [ServerEvent(b"a", id="7"), ServerEvent(b"b", id="7")],
    ),
    "an event name without data is dropped": (
        b"event: ping\n\ndata: a\n\n",
        [ServerEvent(b"a")],
    ),
    "unknown fields and retry are ignored": (
        b"retry: 10\nfoo: bar\nfoo\nDATA: x\n data: x\ndata: a\n\n",
        [ServerEvent(b"a")],
    ),
    "line ends: CR": (
        b"data: a\r\rdata: b\rdata: c\r\r",
        [ServerEvent(b"a"), ServerEvent(b"b\nc")],
    ),
    "line ends: CRLF": (
        b"data: a\r\n\r\n: hm\r\n\r\ndata: b\r\ndata: c\r\n\r\n",
        [ServerEvent(b"a"), ServerEvent(b"b\nc")],
    ),
    "line ends: mixed": (
        b"data: a\r\n\rdata: b\n\rdata: c\r\ndata: d\n\r\ndata: e\r\n\n\n",
        [ServerEvent(b"a"), ServerEvent(b"b"), ServerEvent(b"c\nd"), ServerEvent(b"e")],
    ),
    "many blank lines": (
        b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n",
        [ServerEvent(b"a"), ServerEvent(b"b")],
    ),
    "a byte order mark at the start": (
        b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n",
        [ServerEvent(b"a")],
    ),
    "the start of a byte order mark": (b"\xef\xbbdata: a\n\ndata: b\n\n", [ServerEvent(b"b")]),
    "a second byte order mark is data": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    "other line separators are data": (
        "data: a\u2028b\u2029c\u0085d\x0be\x0cf\n\n".encode(),
        [ServerEvent("a\u2028b\u2029c\u0085d\x0be\x0cf".encode())],
    ),
    "data that looks like fields": (
        b'data: {"a": "data: b\\n\\n"}\n\ndata: id: 3\n\n',
        [ServerEvent(b'{"a": "data: b\\n\\n"}'), ServerEvent(b"id: 3")],
    ),
    "bytes that are not UTF-8": (
        b"event: \xff\ndata: \xff\n\n",
        [ServerEvent(b"\xff", "\ufffd")],
    ),
    "OpenAI": (
        b'data: {"id":"1","choices":[]}\n\ndata: {"id":"1","choices":[{}]}\n\ndata: [DONE]\n\n',
        [
            ServerEvent(b'{"id":"1","choices":[]}'),
            ServerEvent(b'{"id":"1","choices":[{}]}'),
            ServerEvent(b"[DONE]"),
        ],
    ),
}
every_example = pytest.mark.parametrize(
    ("stream", "events"), EXAMPLES.values(), ids=EXAMPLES.keys()
)


def decode(*blocks: bytes) -> list[ServerEvent]:
    decoder = SSEDecoder()
    return [event for block in blocks for event in decoder.feed(block)]


@every_example
def test_a_stream_in_one_block_gives_its_events(stream: bytes, events: list[ServerEvent]) -> None:
    assert decode(stream) == events


@every_example
def test_a_stream_byte_by_byte_gives_the_same(stream: bytes, events: list[ServerEvent]) -> None:
    assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == events


@every_example
def test_a_split_at_any_byte_changes_nothing(stream: bytes, events: list[ServerEvent]) -> None:
    for cut in range(len(stream) + 1):
        assert decode(stream[:cut], stream[cut:]) == events, cut


@every_example
def test_two_splits_at_any_bytes_change_nothing(stream: bytes, events: list[ServerEvent]) -> None:
    for first, second in combinations(range(len(stream) + 1), 2):
        blocks = stream[:first], stream[first:second], stream[second:]
        assert decode(*blocks) == events, (first, second)


@every_example
def test_the_fast_path_gives_the_same_events(stream: bytes, events: list[ServerEvent]) -> None:
    """The decoder takes the fast path only after the start of a stream."""
    stream, events = stream.removeprefix(b"\xef\xbb\xbf"), list(events)
    started = b"data: x\n\n"
    slow = decode(started, *(stream[i : i + 1] for i in range(len(stream))))
    for cut in range(len(stream) + 1):
        assert decode(started, stream[:cut], stream[cut:]) == slow, cut


def test_an_event_comes_with_the_block_that_completes_it() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [ServerEvent(b"a")]


def test_a_cr_ends_a_line_immediately_and_a_following_lf_is_no_second_line_end() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\r") == [ServerEvent(b"a")]
    assert decoder.feed(b"\ndata: b\r") == []
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"\n") == [ServerEvent(b"b")]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_finish_returns_an_event_without_its_blank_line(end: bytes) -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: a\n\ndata: [DONE]" + end)
    assert decoder.finish() == [ServerEvent(b"[DONE]")]


@pytest.mark.parametrize(
    "stream", [b"", b"data: a\n\n", b"data: a\n\n: bye", b"event: x\nid: 3", b"\xef\xbb", b"dat"]
)
def test_finish_returns_nothing_without_pending_data(stream: bytes) -> None:
    decoder = SSEDecoder()
    decoder.feed(stream)
    assert decoder.finish() == []


def test_finish_returns_an_event_once() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: a")
    decoder.finish()
    assert decoder.finish() == []


# Streams with a too large event, for a limit of 100 bytes.
TOO_LARGE = {
    "one line": b"data: " + b"x" * 100 + b"\n\n",
    "an unfinished line": b"x" * 101,
    "many lines": b"data: 123456789\n" * 11 + b"\n",
    "many empty lines": b"data\n" * 101 + b"\n",
    "a comment": b":" + b"x" * 100 + b"\n",
    "after a sound event": b"data: a\n\ndata: " + b"x" * 100 + b"\n\n",
}


@pytest.mark.parametrize("stream", TOO_LARGE.values(), ids=TOO_LARGE.keys())
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_too_large_an_event_is_refused_for_every_block_size(stream: bytes, size: int) -> None:
    decoder = SSEDecoder(max_event_bytes=100)
    blocks = [stream[i : i + size] for i in range(0, len(stream), size)]
    with pytest.raises(BadStream, match="event of the model's stream is larger than 100 bytes"):
        list(map(decoder.feed, blocks))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_below_the_limit_are_accepted_for_every_block_size(size: int) -> None:
    stream = (b"data: " + b"x" * 80 + b"\n\n") * 20 + b": ping\n" * 50
    decoder = SSEDecoder(max_event_bytes=100)
    blocks = [stream[i : i + size] for i in range(0, len(stream), size)]
    assert sum(len(decoder.feed(block)) for block in blocks) == 20


def test_too_long_a_stream_is_refused() -> None:
    decoder = SSEDecoder(max_total_bytes=20)
    decoder.feed(b"data: a\n\ndata: b\n\n")
    with pytest.raises(BadStream, match="longer than 20 bytes"):
        decoder.feed(b"\n\n\n")


def test_a_large_event_in_small_blocks_takes_a_time_proportional_to_its_size() -> None:
    """Checked without a clock: the buffer of the line grows in place and is not searched again."""
    decoder = SSEDecoder()
    decoder.feed(b"data: ")
    waiting = decoder._line
    for _ in range(1000):
        decoder.feed(b"x" * 1000)
        assert decoder._line is waiting
    assert decoder.feed(b"\n\n") == [ServerEvent(b"x" * 1_000_000)]
