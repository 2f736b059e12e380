"""The format of a response's body, which its first bytes decide: labels are often wrong. Sans-IO.

A body is an event stream, one JSON document, or JSON documents in lines. Each decoder returns the
data of complete chunks for `Reply.take`.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from service.errors import BadStream
from service.llm.errors.bodies import read_error_body
from service.llm.sse_decoder import ServerEvent, SSEDecoder

_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = b" \t\r\n"


class BodyDecoder(Protocol):
    """Turns blocks of a body into events; `finish` returns an incomplete last one."""

    def feed(self, block: bytes) -> list[ServerEvent]: ...
    def finish(self) -> list[ServerEvent]: ...


class JSONDecoder:
    """Decoder of one JSON document, or of one in each line.

    A document is returned when it is complete, which does not need the end of the body.
    """

    def __init__(self, max_total_bytes: int, max_document_bytes: int) -> None:
        self._max_total_bytes = max_total_bytes
        self._max_document_bytes = max_document_bytes
        self._total_bytes = 0
        self._rest = bytearray()
        self._has_lines: bool | None = None  # None before the end of the first line
        self._tried_bytes = 0

    def feed(self, block: bytes) -> list[ServerEvent]:
        """Return the documents that `block` completes. Raises BadStream above the limits."""
        self._total_bytes += len(block)
        self._rest += block
        if len(self._rest) > self._max_document_bytes:
            raise BadStream(
                f"The model's server sent a response of more than {self._max_document_bytes} bytes "
                "(MAX_RESPONSE_BYTES)."
            )
        if self._total_bytes > self._max_total_bytes:
            raise BadStream(f"The model's response is longer than {self._max_total_bytes} bytes.")
        lines = self._take_lines() if b"\n" in block else []
        may_be_complete = block.rstrip(_BLANK).endswith((b"}", b"]")) and self._rest
        return [*lines, *self.finish()] if may_be_complete and self._is_complete() else lines

    def finish(self) -> list[ServerEvent]:
        """Return the rest, which is incomplete or no JSON if the body has ended."""
        rest = bytes(self._rest).strip(_BLANK)
        self._rest.clear()
        self._tried_bytes = 0
        return [ServerEvent(rest)] if rest else []

    def _take_lines(self) -> list[ServerEvent]:
        if self._has_lines is None:
            self._has_lines = _is_json(self._rest[: self._rest.index(b"\n")])
        if not self._has_lines:
            return []
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest, self._tried_bytes = bytearray(rest), 0
        return [ServerEvent(line) for each in lines if (line := each.strip(_BLANK))]

    def _is_complete(self) -> bool:
        """Return whether the rest is JSON; False without a test if it has not doubled since one."""
        if len(self._rest) < 2 * self._tried_bytes:
            return False
        self._tried_bytes = len(self._rest)
        return _is_json(self._rest)


def _is_json(data: bytes | bytearray) -> bool:
    try:
        _decode_raw(data)
    except (ValueError, RecursionError):
        return False
    return True


_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


class FirstBytes:
    """Collects the first bytes of a body until they show its format."""

    def __init__(self, max_total_bytes: int, max_document_bytes: int) -> None:
        self._max_total_bytes = max_total_bytes
        self._max_document_bytes = max_document_bytes
        self._decoder: BodyDecoder | None = None
        self._start = b""

    def feed(self, block: bytes) -> list[ServerEvent]:
        """Return the events that `block` completes.

        Raises BadStream for a web page, and above the limit of bytes.
        """
        if self._decoder:
            return self._decoder.feed(block)
        return self._feed_start(block)

    @property
    def stream(self) -> SSEDecoder | None:
        """The decoder of an event stream; None for another format, and before it is known."""
        return self._decoder if isinstance(self._decoder, SSEDecoder) else None

    def _feed_start(self, block: bytes) -> list[ServerEvent]:
        self._start += block
        start = self._start.removeprefix(_BOM).lstrip(_BLANK)
        if not start or _BOM.startswith(self._start):
            self._forget_blank()
            return []
        if start.startswith(b"<"):
            title = read_error_body(start).sentence if b"</" in start else ""
            page = f"a web page ({title})" if title else "a web page"
            raise BadStream(f"The model's server sent {page}: check the agent's base_url.")
        if start.startswith((b"{", b"[")):
            self._decoder = JSONDecoder(self._max_total_bytes, self._max_document_bytes)
            return self._decoder.feed(start)
        self._decoder = SSEDecoder(max_total_bytes=self._max_total_bytes)
        return self._decoder.feed(self._start)

    def _forget_blank(self) -> None:
        """Retain no more of a start without content than its length: it may be endless."""
        if len(self._start) > len(_BOM):
            self._max_total_bytes -= len(self._start)
            self._start = b""
        if self._max_total_bytes < 0:
            raise BadStream("The model's server sent only blank lines.")

    def finish(self) -> list[ServerEvent]:
        """Return the event at the end of the body that lacks its end."""
        return self._decoder.finish() if self._decoder else []


def get_data(event: ServerEvent) -> bytes:
    """Return the data of an event; that of an event named `error` as an error object."""
    data = event.data
    if event.event != "error" or b'"error"' in data or b'"choices"' in data:
        return data
    value = data if _is_json(data) else msgspec.json.encode(data.decode("utf-8", "replace"))
    return b'{"error":%b}' % value
