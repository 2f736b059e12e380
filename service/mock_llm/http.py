"""The part of HTTP/1.1 that the mock server needs: parses request heads, encodes response heads.

Sans-IO. A body needs a Content-Length; ambiguous framing is refused.
Source: https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024

_PHRASES = {int(status): status.phrase for status in HTTPStatus}
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[^ ?#]*)(?:\?[^ ]*)? HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")


class BadHeadError(Exception):
    """An invalid head; the connection closes after the response with `status`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Head:
    """The request line and headers of a request. `path` excludes the query."""

    method: str
    path: str
    length: int
    keep_alive: bool
    expects_continue: bool


def parse_head(buffer: bytearray) -> Head | None:
    """Remove the head of a request from `buffer` and return it, None if it is incomplete.

    Raises BadHeadError.
    """
    end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    if end < 0:
        if len(buffer) >= MAX_HEAD_BYTES:
            raise BadHeadError(431, "The request's headers are too long.")
        return None
    head = _parse_head(bytes(buffer[:end]))
    del buffer[: end + 4]
    return head


def encode_response_head(
    status: int, headers: Sequence[tuple[str, str]], *, chunked: bool, keep_alive: bool
) -> bytes:
    """Return the status line and headers of a response."""
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, '')}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    if chunked:
        lines.append("transfer-encoding: chunked")
    if not keep_alive:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _parse_head(raw: bytes) -> Head:
    first, *lines = raw.split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise BadHeadError(400, "The request line is not valid HTTP/1.1.")
    fields = _parse_fields(lines)
    if b"transfer-encoding" in fields:
        raise BadHeadError(411, "The mock needs a Content-Length.")
    length = fields.get(b"content-length", b"0")
    if not length.isdigit():
        raise BadHeadError(400, "The Content-Length is not a number.")
    if len(length) > 9 or int(length) > MAX_BODY_BYTES:
        raise BadHeadError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
    return Head(
        method=request[1].decode(),
        path=request[2].decode("latin-1"),
        length=int(length),
        keep_alive=fields.get(b"connection", b"").lower() != b"close",
        expects_continue=fields.get(b"expect", b"").lower() == b"100-continue",
    )


def _parse_fields(lines: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the header fields by name in lower case.

    Raises BadHeadError for a malformed field or a second Content-Length.
    """
    fields: dict[bytes, bytes] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise BadHeadError(400, "A header line is malformed.")
        name = match[1].lower()
        if name == b"content-length" and name in fields:
            raise BadHeadError(400, "There are two Content-Lengths.")
        fields[name] = match[2]
    return fields
