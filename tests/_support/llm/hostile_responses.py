"""Responses of hostile model servers, as bytes on the wire: too large, endless, slow or malformed.

Each is a generator of blocks to send and of pauses in seconds. An endless one ends with the
connection.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator, Mapping

# A block to send, or a pause in seconds.
Step = bytes | float

_MB = 1_000_000
_BLOCK_BYTES = 262_144
_OK = b"HTTP/1.1 200 OK\r\n"
_JSON = b"Content-Type: application/json\r\n"
_SSE = b"Content-Type: text/event-stream\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_STREAM = _OK + _SSE + _CHUNKED + b"\r\n"
_UNTIL_CLOSE = b"Connection: close\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"


def make_event(text: str = "", finish: str | None = None) -> bytes:
    """Return one event of a stream in OpenAI's format."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


_END = make_event(finish="stop") + b"data: [DONE]\n\n"


def _make_chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


def _make_answer(text: str, **fields: object) -> bytes:
    message = {"role": "assistant", "content": text, **fields}
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()


def _send(head: bytes, body: bytes) -> Iterator[Step]:
    """Send a complete response with its length."""
    yield head + b"Content-Length: %d\r\n\r\n" % len(body)
    yield body


def _repeat(start: bytes, unit: bytes, times: int | None = None) -> Iterator[Step]:
    """Send `start`, then `unit` again and again, in large blocks; forever without `times`."""
    yield start
    per_block = max(1, _BLOCK_BYTES // len(unit))
    blocks = itertools.count() if times is None else range(times // per_block)
    block = unit * per_block
    for _ in blocks:
        yield block


def _drip(start: bytes, data: bytes, pause_s: float) -> Iterator[Step]:
    """Send `start`, then one byte of `data` per `pause_s`."""
    yield start
    for byte in itertools.cycle(data):
        yield bytes([byte])
        yield pause_s


def _flood(body: Iterator[bytes]) -> Iterator[Step]:
    yield from body


def _wait(*first: bytes) -> Iterator[Step]:
    """Send `first`, then nothing."""
    yield from first
    yield 3600.0


def _nest(levels: int) -> bytes:
    return b'{"choices":' + b"[" * levels + b"]" * levels + b"}"


_BIG = json.dumps({"choices": [{"message": {"content": "x" * 1000}}]}).encode()

RESPONSES: Mapping[str, Callable[[], Iterator[Step]]] = {
    # --- one JSON document ---
    "json-250mb": lambda: _repeat(_OK + _JSON + _UNTIL_CLOSE + b'{"x":"', b"a", 250 * _MB),
    "json-250mb-length": lambda: _repeat(
        _OK + _JSON + b"Content-Length: 250000006\r\n\r\n" + b'{"x":"', b"a", 250 * _MB
    ),
    "json-arrays-250mb": lambda: _repeat(
        _OK + _JSON + _UNTIL_CLOSE + b'{"error":[', b"[],", 83 * _MB
    ),
    "json-error-arrays": lambda: _send(_OK + _JSON, b'{"error":[' + b"[]," * 2_300_000 + b"1]}"),
    "json-choices": lambda: _send(_OK + _JSON, b'{"choices":[' + b"{}," * 2_300_000 + b"{}]}"),
    "json-calls": lambda: _send(
        _OK + _JSON,
        b'{"choices":[{"message":{"tool_calls":[' + b"{}," * 2_300_000 + b"{}]}}]}",
    ),
    "json-content-parts": lambda: _send(
        _OK + _JSON, b'{"choices":[{"message":{"content":[' + b"{}," * 2_300_000 + b"{}]}}]}"
    ),
    "json-wrong-arrays": lambda: _send(_OK + _JSON, b"[" + b"[]," * 2_300_000 + b"1]"),
    "json-surrogates": lambda: _send(
        _OK + _JSON, b'{"x":"\\ud83d","choices":[' + b"{}," * 2_300_000 + b"{}]}"
    ),
    "json-nested": lambda: _send(_OK + _JSON, _nest(100_000)),
    "json-other-nested": lambda: _send(
        _OK + _JSON, b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    ),
    "json-4m-text": lambda: _send(_OK + _JSON, _make_answer("word " * 800_000)),
    "json-4m-umlauts": lambda: _send(_OK + _JSON, _make_answer("\u00e9" * 1_300_000)),
    "json-drip": lambda: _drip(_OK + _JSON + b"Content-Length: 100000\r\n\r\n", _BIG, 0.2),
    "json-close-delimited": lambda: iter(
        [b"HTTP/1.0 200 OK\r\n" + _JSON + b"\r\n", _make_answer("fine")]
    ),
    "json-after-length": lambda: itertools.chain(
        _send(_OK + _JSON, _make_answer("fine")), _repeat(b"", b"x" * 1000)
    ),
    "json-pipelined": lambda: itertools.chain(
        _send(_OK + _JSON, _make_answer("fine")),
        _repeat(b"", _OK + b"Content-Length: 0\r\n\r\n"),
    ),
    "json-gzip-bomb": lambda: _send(
        _OK + _JSON + b"Content-Encoding: gzip\r\n", gzip.compress(b" " * 100 * _MB)
    ),
    "sse-gzip-bomb": lambda: _send(
        _OK + _SSE + b"Content-Encoding: gzip\r\n", gzip.compress(b"data: {}\n\n" * 10 * _MB)
    ),
    "lines-empty-json": lambda: _repeat(_OK + _JSON + _UNTIL_CLOSE, b"{}\n"),
    # --- the head of the response ---
    "silent": _wait,
    "head-endless": lambda: _repeat(_OK, b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
    "head-10mb-line": lambda: _repeat(_OK + b"X-Filler: ", b"a", 10 * _MB),
    "head-drip": lambda: _drip(_OK, b"X-Filler: a\r\n", 0.05),
    "head-unfinished": lambda: _wait(_OK + _SSE),
    "status-endless": lambda: _repeat(b"HTTP/1.1 200 ", b"O"),
    "continue-flood": lambda: _repeat(b"", _CONTINUE),
    "processing-flood": lambda: _repeat(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "hints-flood": lambda: _repeat(b"", _HINTS),
    "continue-drip": lambda: itertools.chain.from_iterable(
        [_CONTINUE, 0.05] for _ in itertools.count()
    ),
    "switching": lambda: _repeat(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"x" * 1000,
    ),
    "redirect": lambda: _send(b"HTTP/1.1 302 Found\r\nLocation: /v1/chat/completions\r\n", b""),
    "blank-lines-first": lambda: _repeat(b"", b"\r\n"),
    # --- the framing of the body ---
    "chunks-1-byte": lambda: _repeat(_STREAM, _make_chunk(b":")),
    "chunks-1-newline": lambda: _repeat(_STREAM, _make_chunk(b"\n")),
    "chunk-extension": lambda: _repeat(_STREAM + b"5;x=", b"a"),
    "chunk-extensions": lambda: _repeat(_STREAM, _make_chunk(b":", b";x=" + b"a" * 1000)),
    "chunk-garbage": lambda: _wait(_STREAM + _make_chunk(make_event("Hi")) + b"zz\r\n"),
    "trailers": lambda: _repeat(
        _STREAM + _make_chunk(make_event("Hi")) + b"0\r\n", b"X-Trailer: aaaaaaaa\r\n"
    ),
    "trailer-10mb": lambda: _repeat(
        _STREAM + _make_chunk(make_event("Hi")) + b"0\r\nX-Trailer: ", b"a"
    ),
    "after-done": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE + make_event("Hi") + _END, b": x\n\n"),
    # --- the events of a stream ---
    "sse-blank": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE, b"\n", 1000 * _MB),
    "sse-cr": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE, b"\r", 1000 * _MB),
    "sse-colons": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE, b":\n", 500 * _MB),
    "sse-comments": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE, b": ping\n\n", 125 * _MB),
    "sse-empty-data": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE, b"data:\n\n"),
    "sse-empty-json": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE, b"data: {}\n\n"),
    "sse-empty-lines-of-data": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE, b"data:\n"),
    "sse-one-event": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE + b"data: ", b"a", 100 * _MB),
    "sse-comment-line": lambda: _repeat(_OK + _SSE + _UNTIL_CLOSE + b":", b"a", 100 * _MB),
    "sse-wide-event": lambda: _repeat(
        _OK + _SSE + _UNTIL_CLOSE, b'data: {"choices":[' + b"{}," * 300_000 + b"{}]}\n\n"
    ),
    "sse-deltas": lambda: itertools.chain(
        _repeat(
            _OK + _SSE + _UNTIL_CLOSE, b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', 4 * _MB
        ),
        [_END],
    ),
    "sse-calls": lambda: _repeat(
        _OK + _SSE + _UNTIL_CLOSE,
        b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":""}}]}}]}\n\n',
    ),
    "sse-drip": lambda: _drip(_OK + _SSE + _UNTIL_CLOSE, make_event("Hi"), 0.05),
    # --- error responses ---
    "error-250mb": lambda: _repeat(
        b"HTTP/1.1 400 Bad Request\r\n" + _JSON + _UNTIL_CLOSE + b'{"error":"', b"a", 250 * _MB
    ),
    "error-busy-250mb": lambda: _repeat(
        b"HTTP/1.1 429 Too Many Requests\r\n" + _UNTIL_CLOSE, b"a", 250 * _MB
    ),
    "error-drip": lambda: _drip(
        b"HTTP/1.1 400 Bad Request\r\n" + _JSON + _UNTIL_CLOSE, b'{"error":"a"}', 0.05
    ),
    "error-silent": lambda: _wait(
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\n"
    ),
    "error-nested": lambda: _send(
        b"HTTP/1.1 400 Bad Request\r\n" + _JSON,
        b'{"error":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ),
    "error-cut": lambda: iter([b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\n", b"Sor"]),
}
