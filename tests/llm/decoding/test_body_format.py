"""The format of a body, as its first bytes show it."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from service.errors import BadStream
from service.llm.decoding.body_format import FirstBytes, get_data
from service.llm.decoding.content_coding import ContentDecoder

CHUNKS = [{"choices": [{"delta": {"content": text}}]} for text in ("Hi", " there")]
LINES = [json.dumps(each).encode() for each in CHUNKS]
STREAM = b"".join(b"data: %b\n\n" % line for line in LINES)


def _read(body: bytes, size: int, limit: int = 10_000) -> list[bytes]:
    """Return the data of the events in `body`, which arrives in blocks of `size` bytes."""
    decoder = FirstBytes(10_000, limit)
    blocks = [body[at : at + size] for at in range(0, len(body), size)]
    events = [event for block in blocks for event in decoder.feed(block)]
    return [get_data(event) for event in [*events, *decoder.finish()]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize("before", [b"", b"\n", b"\xef\xbb\xbf", b" \r\n\t"])
@pytest.mark.parametrize(
    ("body", "data"),
    [
        (STREAM, LINES),
        (b": comment\n\n" + STREAM, LINES),
        (LINES[0], LINES[:1]),
        (b"\n".join(LINES), LINES),
        (b"\r\n".join(LINES) + b"\r\n\r\n", LINES),
        (json.dumps(CHUNKS).encode(), [json.dumps(CHUNKS).encode()]),
    ],
    ids=["stream", "stream after a comment", "document", "lines", "lines with CRLF", "list"],
)
def test_the_first_bytes_decide_the_format(
    body: bytes, data: list[bytes], before: bytes, size: int
) -> None:
    if before == b" \r\n\t" and not body.startswith(b"{"):
        before = b"\r\n"  # a blank at the start of a line belongs to the stream's fields
    assert _read(before + body, size) == data


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_document_in_many_lines_is_one_document(size: int) -> None:
    document = json.dumps(CHUNKS[0], indent=2).encode()
    assert _read(document, size) == [document]


def test_a_document_is_returned_before_the_end_of_the_body() -> None:
    decoder = FirstBytes(10_000, 10_000)
    assert [event.data for event in decoder.feed(LINES[0])] == LINES[:1]
    assert decoder.finish() == []


def test_a_web_page_is_refused_with_the_advice_to_check_the_address() -> None:
    with pytest.raises(BadStream, match=r"a web page \(Sign in\): check the agent's base_url"):
        _read(b"<!doctype html><title>Sign in</title>", 100)
    with pytest.raises(BadStream, match="a web page: check the agent's base_url"):
        _read(b"<!doctype html><title>Sign in</title>", 3)


def test_a_document_above_its_limit_is_refused_while_it_arrives() -> None:
    decoder = FirstBytes(10_000, 100)
    decoder.feed(b'{"choices": "' + b"x" * 80)
    with pytest.raises(BadStream, match="MAX_RESPONSE_BYTES"):
        decoder.feed(b"x" * 80)


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


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b'event: error\ndata: {"message": "no"}\n\n', b'{"error":{"message": "no"}}'),
        (b"event: error\ndata: out of memory\n\n", b'{"error":"out of memory"}'),
        (b'event: error\ndata: {"error": "no"}\n\n', b'{"error": "no"}'),
        (b'error: {"code": 500}\n\n', b'{"error":{"code": 500}}'),
        (b"event: ping\ndata: {}\n\n", b"{}"),
    ],
)
def test_an_event_named_error_is_an_error_object(event: bytes, data: bytes) -> None:
    assert _read(b"event: start\ndata: {}\n\n" + event, 1000)[1:] == [data]


# --- codings ---


def _decode(body: bytes, label: str, size: int = 7) -> bytes:
    decoder = ContentDecoder(label)
    blocks = [body[at : at + size] for at in range(0, len(body), size)]
    pieces = [piece for block in blocks for piece in decoder.decode(block)]
    return b"".join(pieces) + decoder.finish()


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("body", "label"),
    [
        (STREAM, ""),
        (STREAM, "Identity"),
        (STREAM, "gzip"),
        (STREAM, "br"),
        (gzip.compress(STREAM), "gzip"),
        (gzip.compress(STREAM), " GZip"),
        (gzip.compress(STREAM), ""),
        (zlib.compress(STREAM), "deflate"),
        (zlib.compress(STREAM, wbits=-15), "Deflate"),
        (STREAM, "deflate"),
    ],
    ids=[
        "none",
        "identity",
        "wrong",
        "wrong br",
        "gzip",
        "capitals",
        "unlabelled",
        "deflate",
        "deflate without header",
        "wrong deflate",
    ],
)
def test_the_first_bytes_decide_the_coding(body: bytes, label: str, size: int) -> None:
    assert _decode(body, label, size) == STREAM


@pytest.mark.parametrize(
    ("body", "label"),
    [(b"\x28\xb5\x2f\xfd....", ""), (b"\x8b\x02\x80....", "br")],
    ids=["zstd", "br"],
)
def test_other_codings_are_refused_by_name(body: bytes, label: str) -> None:
    with pytest.raises(BadStream, match=label or "zstd"):
        _decode(body, label)


def test_damaged_compressed_data_is_a_bad_stream() -> None:
    with pytest.raises(BadStream, match="damaged"):
        _decode(gzip.compress(STREAM)[:20] + b"x" * 50, "gzip")


def test_a_small_block_is_decompressed_in_bounded_pieces() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    decoder = ContentDecoder("gzip")
    assert max(len(piece) for piece in decoder.decode(bomb)) <= 65_536
